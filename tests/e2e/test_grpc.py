"""What gRPC callers are promised, through the one gateway port."""

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from deploy.local import parts
from sluice.alert.v1 import alert_service_pb2 as alerts
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED
from tests.kit.client import Client
from tests.kit.error_details import detail_of, error_info
from tests.kit.health import is_serving

INGEST = "sluice.ingest.v1.IngestService"
ALERT = "sluice.alert.v1.AlertService"
LOGS = "opentelemetry.proto.collector.logs.v1.LogsService"
METHODS = {
    INGEST: {"GetStatus", "Scan", "Submit", "SubmitBatch", "SubmitStream", "WatchStatus"},
    ALERT: {"GetAlert", "ListAlerts", "RaiseAlert", "WatchAlerts"},
    LOGS: {"Export"},
}


@pytest.fixture
def channel(client: Client) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(client.mesh.gateway) as channel:
        yield channel


def grpcurl(client: Client, *arguments: str) -> str:
    program = parts.go_program(parts.GRPCURL, print)
    done = subprocess.run(
        [program, "-plaintext", *arguments], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcurl_lists_and_describes_every_public_method(client: Client) -> None:
    services = set(grpcurl(client, client.mesh.gateway, "list").split())
    assert {INGEST, ALERT, "grpc.health.v1.Health"} <= services
    for service, methods in METHODS.items():
        listed = grpcurl(client, client.mesh.gateway, "list", service).split()
        assert set(listed) == {f"{service}.{method}" for method in methods}
        described = grpcurl(client, client.mesh.gateway, "describe", service)
        assert all(f"rpc {method} " in described for method in methods)
    for service, methods in METHODS.items():
        for method in methods:
            told = grpcurl(client, client.mesh.gateway, "describe", f"{service}.{method}")
            assert told.startswith(f"{service}.{method} is a method:")
    for version in ("v1", "v1alpha"):
        name = f"grpc.reflection.{version}.ServerReflection"
        assert name in services
        assert f"{name} is a service:" in grpcurl(client, client.mesh.gateway, "describe", name)
    assert "google.protobuf.Value data = 1" in grpcurl(
        client, client.mesh.gateway, "describe", "sluice.ingest.v1.SubmitRequest"
    )


def test_grpcurl_calls(client: Client) -> None:
    answer = grpcurl(
        client, "-d", '{"data":"hello","source":"cli"}', client.mesh.gateway, f"{INGEST}/Submit"
    )
    assert client.finished(json.loads(answer)["task_id"])["state"] == "TASK_STATE_SUCCEEDED"
    raised = grpcurl(
        client, "-d", '{"event_type":"CLI"}', client.mesh.gateway, f"{ALERT}/RaiseAlert"
    )
    assert json.loads(raised)["alert_id"] in grpcurl(
        client, client.mesh.gateway, f"{ALERT}/ListAlerts"
    )
    healthy = grpcurl(client, client.mesh.gateway, "grpc.health.v1.Health/Check")
    assert json.loads(healthy) == {"status": "SERVING"}


@pytest.mark.parametrize("service", ["", INGEST, ALERT])
def test_health_is_told_through_the_gateway(client: Client, service: str) -> None:
    assert is_serving(client.mesh.gateway, service)


def submission(text: str) -> ingest.SubmitRequest:
    request = ingest.SubmitRequest()
    request.data.string_value = text
    return request


def test_a_refusal_is_a_rich_error(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        IngestServiceStub(channel).Submit(submission("my ssn is 123-45-6789"), timeout=5)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    info, request = error_info(error), detail_of(error, error_details_pb2.BadRequest)
    assert info.reason == "CONTENT_REFUSED"
    alert = AlertServiceStub(channel).GetAlert(
        alerts.GetAlertRequest(alert_id=info.metadata["alert_id"]), timeout=5
    )
    assert alert.alert.event_type == "PII"
    assert request is not None
    assert {each.field for each in request.field_violations} == {"/data"}


@pytest.mark.parametrize("field", [1, 2])
def test_text_that_is_not_utf8_is_an_invalid_argument(channel: grpc.Channel, field: int) -> None:
    text = b"\xff\xfe CANARY"
    value = bytes([0x1A, len(text)]) + text if field == 1 else text
    sent = bytes([field << 3 | 2, len(value)]) + value
    submit: Any = channel.unary_unary(f"/{INGEST}/Submit")
    with pytest.raises(grpc.RpcError) as caught:
        submit(sent, timeout=5)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "CANARY" not in str(error)


def test_the_answer_to_a_batch_with_many_refusals_can_be_sent(
    client: Client, channel: grpc.Channel
) -> None:
    reports = len(client.reports())
    submissions = [submission("fine")] * 2500
    for number in range(2200):
        request = ingest.SubmitRequest()
        request.data.struct_value.update({f"<é{'n' * 100}{number}": "ssn 123-45-6789"})
        submissions.append(request)
    batch = ingest.SubmitBatchRequest(submissions=submissions)
    answer = IngestServiceStub(channel).SubmitBatch(batch, timeout=30)
    assert (answer.accepted, answer.rejected) == (2500, 2200)
    assert answer.results[-1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    client.await_reports(reports + 2200)


def test_an_error_with_long_paths_is_told(channel: grpc.Channel) -> None:
    request = ingest.SubmitRequest()
    request.data.struct_value.update(
        {"й" * 110 + str(number): "my ssn is 123-45-6789" for number in range(20)}
    )
    with pytest.raises(grpc.RpcError) as caught:
        IngestServiceStub(channel).Submit(request, timeout=5)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "grpc-status-details-bin" in dict(error.trailing_metadata())


def test_a_piece_with_a_request_id_is_recorded_once_on_any_stream(
    client: Client, channel: grpc.Channel
) -> None:
    piece = ingest.SubmitStreamRequest(
        submissions=[submission("a"), submission("ssn 123-45-6789")], request_id="piece-e2e-1"
    )
    pieces = [piece, piece]
    answers = [
        *IngestServiceStub(channel).SubmitStream(iter(pieces), timeout=20),
        *IngestServiceStub(channel).SubmitStream(iter(pieces), timeout=20),
    ]
    first, *others = [[(each.verdict, each.task_id) for each in one.results] for one in answers]
    assert others == [first] * 3
    client.finished(first[0][1])
    assert len(client.rows("request_id = 'piece-e2e-1'")) == 2


def test_a_stream_answers_each_piece_in_order(client: Client, channel: grpc.Channel) -> None:
    pieces = [
        ingest.SubmitStreamRequest(submissions=[submission("a"), submission("ssn 123-45-6789")]),
        ingest.SubmitStreamRequest(submissions=[submission(str(n)) for n in range(100)]),
    ]
    answers = list(IngestServiceStub(channel).SubmitStream(iter(pieces), timeout=20))
    assert [len(answer.results) for answer in answers] == [2, 100]
    assert [each.verdict for each in answers[0].results] == [VERDICT_ACCEPTED, VERDICT_REJECTED]
    task_ids = [each.task_id for each in answers[1].results]
    assert len(set(task_ids)) == 100
    for task_id in (task_ids[0], task_ids[-1]):
        assert client.finished(task_id)["state"] == "TASK_STATE_SUCCEEDED"


def test_alerts_are_watched_as_they_are_raised(channel: grpc.Channel) -> None:
    stub = AlertServiceStub(channel)
    watch = stub.WatchAlerts(alerts.WatchAlertsRequest(), timeout=20)
    watch.initial_metadata()  # the watch has begun
    raised = stub.RaiseAlert(alerts.RaiseAlertRequest(event_type="WATCHED"), timeout=5)
    seen = next(each for each in watch if each.alert.event_type == "WATCHED")
    assert seen.alert.alert_id == raised.alert_id
    watch.cancel()


def test_grpc_web_on_the_same_port(client: Client) -> None:
    message = submission("from a browser").SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    answer = client.call(
        "POST",
        f"/{INGEST}/Submit",
        base64.b64encode(frame),
        {"Content-Type": "application/grpc-web-text", "Accept": "application/grpc-web-text"},
    )
    assert answer.status == 200
    # The body is base64 in chunks, each padded on its own: the message, then the trailers.
    body = b"".join(
        base64.b64decode(chunk + b"=" * (-len(chunk) % 4))
        for chunk in answer.body.replace(b"==", b"=").split(b"=")
        if chunk
    )
    length = int.from_bytes(body[1:5], "big")
    receipt = ingest.SubmitResponse.FromString(body[5 : 5 + length])
    assert client.finished(receipt.task_id)["state"] == "TASK_STATE_SUCCEEDED"
    assert b"grpc-status:0" in body[5 + length :]
