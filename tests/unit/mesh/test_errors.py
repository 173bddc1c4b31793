from __future__ import annotations

import grpc
from google.protobuf import json_format
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import CallError, FieldError


def made(fields: int, detectors: str) -> CallError:
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        "Remove it.",
        metadata={"alert_id": "a" * 32, "detectors": detectors},
        fields=[FieldError("/data/<é>", "KEYWORD", "Remove it.")] * fields,
    )


def json_size(status: status_pb2.Status) -> int:
    return len(json_format.MessageToJson(status, indent=0, ensure_ascii=True))


@given(
    st.integers(0, 4096),
    st.integers(0, 1000),
    st.lists(st.sampled_from(["one", "two", "three"]), min_size=1).map(",".join),
)
def test_a_status_is_no_larger_than_it_may_be(most: int, fields: int, detectors: str) -> None:
    bare = made(0, "").status("r-1")
    full = made(fields, detectors).status("r-1", most)
    # The list of fields and their count need a little more.
    assert full.ByteSize() - bare.ByteSize() <= most + 100
    assert json_size(full) - json_size(bare) <= most + 150
