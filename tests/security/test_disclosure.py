"""What is told to callers and to logs: fixed words and ids, nothing of what was sent or of us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import redis
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from ulid import ULID

from job_store.keys import ONLY
from sluice.job.v1.job_pb2 import JobRecord
from tests.kit.client import Client
from tests.kit.waiting import eventually
from tests.security import wire
from tests.security.calls import call

INSIDE = ("Traceback", "KeyError", "DecodeError", "Exception", ".py", "CANARY", "7070770", "File ")


@pytest.fixture
def broken_task(client: Client) -> Iterator[str]:
    """A task whose record makes the handler raise."""
    job_id = str(ULID())
    with redis.Redis.from_url(client.mesh.redis_url) as store:
        key, field = ONLY.record(job_id)
        store.hset(key, field, JobRecord(state=7070770, size=1).SerializeToString())  # type: ignore[arg-type]
        yield f"{job_id}-0"
        store.hdel(key, field)


@pytest.fixture
def undecodable_task(client: Client) -> Iterator[str]:
    """A task whose record is no message."""
    job_id = str(ULID())
    with redis.Redis.from_url(client.mesh.redis_url) as store:
        key, field = ONLY.record(job_id)
        store.hset(key, field, b"\xff\xff CANARY")
        yield f"{job_id}-0"
        store.hdel(key, field)


@pytest.mark.parametrize("task", ["broken_task", "undecodable_task"])
def test_a_handlers_exception_tells_the_caller_nothing(
    client: Client, channel: grpc.Channel, request: pytest.FixtureRequest, task: str
) -> None:
    task_id = request.getfixturevalue(task)
    for path in (f"/status/{task_id}", f"/status/{task_id}:watch"):
        answer = client.get(path)
        assert answer.status == 500
        assert answer.detail("ErrorInfo")["reason"] == "INTERNAL"
        assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]
        assert not any(word in answer.body.decode() for word in INSIDE)
    ended = call(
        channel,
        "/sluice.ingest.v1.IngestService/GetStatus",
        wire.field(1, task_id.encode()),
    )
    assert ended.code() is grpc.StatusCode.INTERNAL
    assert not any(word in (ended.details() or "") for word in INSIDE)


def test_a_handlers_exception_is_logged_by_its_type_and_request_id(
    client: Client, broken_task: str
) -> None:
    request_id = client.get(f"/status/{broken_task}").headers["x-request-id"]

    def logged() -> dict[str, Any] | None:
        lines = client.log_lines("ingest_service", "call failed")
        return next((line for line in lines if line["request_id"] == request_id), None)

    assert eventually(logged)["error"] == "KeyError"


def test_a_log_line_cannot_be_forged(client: Client, ingest_channel: grpc.Channel) -> None:
    forged = '\n{"event":"forged","level":"info"}\x1b[2K\r'
    for body in (
        {"data": 1, "source": f"x{forged}"},
        {"data": 1, "request_id": f"x{forged}"},
        {"data": f"123-45-6789 {forged}"},
        {"data": {forged: "123-45-6789"}},
    ):
        assert client.post("/submit", body).status == 400
    raised = {"event_type": "X", "source": forged, "alert_id": forged}
    assert client.post("/alert", raised).status == 400
    assert client.post("/alert", {"event_type": "X", "message": forged}).status == 200
    # Past the gateway, a caller makes up the request id too.
    refused: Any = ingest_channel.unary_unary(wire.SUBMIT)
    with pytest.raises(grpc.RpcError):
        refused(
            wire.submission(wire.text_value(b"123-45-6789")),
            timeout=10,
            metadata=(("x-request-id", '"},{"event":"forged'),),
        )
    last = client.submit("the last of them").json["task_id"]
    client.finished(last)
    for path in client.mesh.supervisor.logs.glob("*.log"):
        text = path.read_text(errors="replace")
        assert "\x1b" not in text, path
        for line in text.splitlines():
            if line.startswith("{"):
                assert json.loads(line).get("event") != "forged", path


def reflected(channel: grpc.Channel, **asked: str) -> reflection_pb2.ServerReflectionResponse:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(**asked)])
    return next(stub.ServerReflectionInfo(requests, timeout=10))


def test_reflection_shows_the_public_services_only(channel: grpc.Channel) -> None:
    listed = reflected(channel, list_services="").list_services_response.service
    assert {each.name for each in listed} == {
        "sluice.ingest.v1.IngestService",
        "sluice.alert.v1.AlertService",
        "opentelemetry.proto.collector.logs.v1.LogsService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for inside in (
        "envoy.service.accesslog.v3.AccessLogService",
        "sluice.edge.v1.EdgeService",
        "sluice.alert.v1.AlertBatchService",
        "sluice.job.v1.Interaction",
    ):
        assert reflected(channel, file_containing_symbol=inside).HasField("error_response")
