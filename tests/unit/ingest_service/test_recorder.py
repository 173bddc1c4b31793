"""What the recorder writes of a submission, as the worker reads it."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Value

from ingest_service.recorder import Decided, _entry
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.job.v1.job_pb2 import LogInteractions


@pytest.mark.parametrize("widely", [False, True])
def test_what_is_masked_widely_says_so(widely: bool) -> None:
    kept = Decided(SubmitRequest(), Value(string_value="*"), "", "", "alert", masked_widely=widely)
    (interaction,) = LogInteractions.FromString(_entry(kept, 1).piece).interactions
    assert interaction.masked_widely is widely
    assert interaction.data.string_value == "*"
