"""The size of answers: what cannot be sent would be an error after everything was stored."""

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from ingest_service.parts import Outcome
from ingest_service.refusals import content_refused
from ingest_service.servicer import _tell
from mesh.errors import CallError, FieldError
from mesh.handlers import MAX_MESSAGE_BYTES
from sluice.ingest.v1.ingest_service_pb2 import SubmitBatchResponse
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED

GATEWAY_MAX_RESPONSE_BYTES = 8 * 1024 * 1024
MESSAGE = "The submission holds what must not be sent: personal data, a secret or a keyword. " * 2


def refused(path: str) -> CallError:
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        MESSAGE,
        metadata={"alert_id": "a" * 32, "detectors": ",".join(["credential_assignment"] * 36)},
        fields=[FieldError(path, "CREDENTIAL_ASSIGNMENT", "Remove it or mask it. " * 4)] * 1000,
    )


@pytest.mark.parametrize("path", ["/data", "/data/" + "x" * 114, "/\x01<" * 40, "\U0001f600" * 120])
@pytest.mark.parametrize(("accepted", "rejected"), [(0, 1), (2500, 2200), (0, 5000), (5000, 0)])
def test_the_answer_to_a_batch_can_be_sent(path: str, accepted: int, rejected: int) -> None:
    outcomes: list[Outcome] = [f"{'0' * 26}-{number}" for number in range(accepted)]
    outcomes += [refused(path)] * rejected
    answer = SubmitBatchResponse()
    assert _tell(outcomes, answer, lambda: "0" * 36) == accepted
    assert answer.ByteSize() < MAX_MESSAGE_BYTES * 0.9
    as_json = json_format.MessageToJson(answer, indent=0, preserving_proto_field_name=True)
    as_json = as_json.replace("<", "\\u003c")
    assert len(as_json) < GATEWAY_MAX_RESPONSE_BYTES * 0.9
    verdicts = [each.verdict for each in answer.results]
    assert verdicts == [VERDICT_ACCEPTED] * accepted + [VERDICT_REJECTED] * rejected
    for each in answer.results[accepted:]:
        assert each.error.message == MESSAGE
        assert b"a" * 32 in each.error.SerializeToString()


def test_each_of_many_refusals_names_a_field() -> None:
    answer = SubmitBatchResponse()
    _tell([refusal_of("payment_card", "/data")] * 5000, answer, lambda: "0" * 36)
    for each in answer.results:
        assert "/data" in [field.field for field in error_details(each.error).field_violations]


def refusal_of(detector: str, path: str) -> CallError:
    return content_refused("a" * 32, [detector], [(path, detector)] * 3)


def error_details(status: Status) -> BadRequest:
    found = BadRequest()
    assert any(each.Unpack(found) for each in status.details)
    return found


def test_few_refusals_name_all_their_fields() -> None:
    answer = SubmitBatchResponse()
    for _ in range(2):
        _tell([refused("/data")], answer, str)
    one, same = answer.results
    assert one == same
    assert str(one.error).count("/data") == 16
