"""What is taken from the bytes of a submission is what its message says."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from ingest_service.named_fields import named_texts
from ingest_service.submission import Submission
from mesh.messages import length_delimited_field
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

datas = st.one_of(
    st.none(),
    st.just(Value()),
    st.builds(Value, bool_value=st.booleans()),
    st.builds(Value, string_value=st.text()),
    st.builds(lambda size: Value(string_value="x" * size), st.integers(0, 40_000)),
)
unknown = st.one_of(
    st.just(b""),
    st.builds(length_delimited_field, st.integers(4, 5000), st.binary()),
)


@given(datas, st.text(), st.text(), unknown)
def test_it_is_what_the_message_says(data: Any, source: str, name: str, beside: bytes) -> None:
    message = SubmitRequest(data=data, source=source, request_id=name)
    message.MergeFromString(beside)
    submission = Submission(message)
    assert submission.data == message.data.SerializeToString()
    assert submission.size == message.ByteSize()
    assert [*submission.named] == named_texts(message)
    assert submission.request_id == name


@pytest.mark.parametrize("second", [Value(string_value="b"), Value()])
def test_data_that_is_sent_twice_is_joined(second: Value) -> None:
    parts = [Value(string_value="a"), second]
    wire = b"".join([length_delimited_field(1, each.SerializeToString()) for each in parts])
    submission = Submission(SubmitRequest.FromString(wire))
    joined = Value.FromString(b"".join([each.SerializeToString() for each in parts]))
    assert submission.data == joined.SerializeToString()
