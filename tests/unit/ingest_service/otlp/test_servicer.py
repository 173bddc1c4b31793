"""The service of OpenTelemetry over a real socket, with the real intake and fakes behind it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from ingest_service.gate import Gate
from ingest_service.intake import Intake
from ingest_service.otlp import records
from ingest_service.otlp.servicer import LOGS, RETRY_INFO, LogsServicer, add_to_server
from job_store.errors import QueueFull, QueueUnavailable
from mesh import server
from mesh.handlers import Service
from mesh.health import Health
from mesh.settings import ProcessSettings
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED
from tests.kit import otel
from tests.unit.ingest_service.test_intake import FakeAlerts, FakeRecorder

SSN = "my ssn is 123-45-6789"


class Scene:
    """The service, whatever stands behind it, and a caller."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.alerts, self.recorder = FakeAlerts(self.log), FakeRecorder(self.log)
        behind: Any = (self.alerts, self.recorder)
        self.intake = Intake(Gate(None), *behind)
        self.channel: Any = None
        self.address = ""

    async def send(self, *sent: LogRecord, **options: Any) -> ExportLogsServiceResponse:
        request = ExportLogsServiceRequest()
        request.resource_logs.add().scope_logs.add().log_records.extend(sent)
        return await self.send_bytes(request.SerializeToString(), **options)

    async def send_bytes(self, sent: bytes, **options: Any) -> ExportLogsServiceResponse:
        call = self.channel.unary_unary(f"/{LOGS}/Export")
        return ExportLogsServiceResponse.FromString(await call(sent, **options))

    async def failure(self, *sent: LogRecord) -> tuple[grpc.StatusCode, status_pb2.Status, Any]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.send(*sent)
        # The library's own mapping does not convert to one.
        trailers = {key: value for key, value in caught.value.trailing_metadata() or ()}  # noqa: C416
        details: Any = trailers["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(details)
        return caught.value.code(), status, trailers.get(RETRY_INFO)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    servicer = LogsServicer(scene.intake)
    service = Service(LOGS, add_to_server, servicer, servicer.refuse_undecodable)
    settings = ProcessSettings(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0")
    built = server.build(settings, [service], Health([], probes={}))
    port = built.add_insecure_port("127.0.0.1:0")
    await built.start()
    scene.address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(scene.address) as scene.channel:
        yield scene
    await built.stop(None)
    await scene.intake.close()


def record(body: str, uid: str = "") -> LogRecord:
    made = LogRecord(trace_id=b"t" * 16, time_unix_nano=10**18)
    made.body.string_value = body
    if uid:
        made.attributes.add(key="log.record.uid").value.string_value = uid
    return made


async def test_records_are_recorded(scene: Scene) -> None:
    assert await scene.send(record("a"), record("b")) == ExportLogsServiceResponse()
    assert [json_format.MessageToDict(each.data) for each in scene.recorder.recorded] == [
        {"body": body, "trace_id": "74" * 16, "time": "2001-09-09T01:46:40.000000000Z"}
        for body in ("a", "b")
    ]
    assert {each.verdict for each in scene.recorder.recorded} == {VERDICT_ACCEPTED}


async def test_a_call_without_records_succeeds(scene: Scene) -> None:
    assert await scene.send_bytes(b"") == ExportLogsServiceResponse()
    assert await scene.send() == ExportLogsServiceResponse()
    assert scene.log == []


async def test_what_is_refused_is_told_by_detector_and_has_its_alert(scene: Scene) -> None:
    answer = await scene.send(
        record("fine"), record(SSN), record("mail bob@example.com"), record("NUL \0"), record("b")
    )
    told = answer.partial_success
    assert told.rejected_log_records == 3
    assert told.error_message.startswith("3 of 5 records refused: ")
    for reason in ("us_ssn 1", "keyword 1", "email 1", "NUL 1"):
        assert reason in told.error_message
    assert len(scene.alerts.raised) == 3
    assert all(each.alert_id in told.error_message for each in scene.alerts.raised)
    assert "123-45" not in told.error_message
    assert "bob" not in told.error_message
    refused = [each for each in scene.recorder.recorded if each.verdict == VERDICT_REJECTED]
    assert len(refused) == 3
    assert len(scene.recorder.recorded) == 5
    masked = json_format.MessageToDict(refused[0].data)
    assert "123-45" not in masked["body"]
    assert masked["trace_id"] == "74" * 16
    payload = json_format.MessageToDict(scene.alerts.raised[0].payload)
    assert (payload["body"], payload["trace_id"]) == (SSN, "74" * 16)


async def test_of_many_alerts_some_are_named(scene: Scene) -> None:
    answer = await scene.send(*[record(f"{SSN} {number}") for number in range(300)])
    assert answer.partial_success.rejected_log_records == 300
    assert len(answer.partial_success.error_message) < 400


async def test_a_damaged_record_is_told_and_the_others_are_taken(scene: Scene) -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.extend([record("a"), record("xyz")])
    answer = await scene.send_bytes(request.SerializeToString().replace(b"xyz", b"x\xffz"))
    assert "1 of 2 records refused: UNDECODABLE 1." in answer.partial_success.error_message
    assert [each.data.WhichOneof("kind") for each in scene.recorder.recorded] == [
        "struct_value",
        "string_value",
    ]


async def test_of_a_key_that_is_there_twice_only_what_was_judged_is_recorded(scene: Scene) -> None:
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    for value in (SSN, "fine"):
        logs.resource.attributes.add(key="k").value.string_value = value
    logs.scope_logs.add().log_records.append(record("a"))
    assert await scene.send_bytes(request.SerializeToString()) == ExportLogsServiceResponse()
    (piece,) = [each.piece for each in scene.recorder.entries]
    assert b"fine" in piece
    assert b"123-45" not in piece


async def test_a_call_that_is_no_message_has_an_alert(scene: Scene) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.send_bytes(b"\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(scene.alerts.raised) == 1


async def test_more_records_than_may_be_are_refused_for_good(scene: Scene) -> None:
    code, status, retry = await scene.failure(*[LogRecord()] * (records.MAX_RECORDS + 1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert retry is None
    assert not any(each.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for each in status.details)
    assert len(scene.alerts.raised) == 1
    assert await scene.send(*[LogRecord()] * records.MAX_RECORDS) == ExportLogsServiceResponse()


@pytest.mark.parametrize(
    ("error", "code", "seconds"),
    [
        (QueueFull(), grpc.StatusCode.RESOURCE_EXHAUSTED, 5),
        (QueueUnavailable(), grpc.StatusCode.UNAVAILABLE, 1),
    ],
)
async def test_what_is_not_stored_may_be_sent_again(
    scene: Scene, error: Any, code: grpc.StatusCode, seconds: int
) -> None:
    # Of two parts of the call one is stored.
    scene.recorder.errors = [None, error]
    sent = [record(str(number)) for number in range(101)]
    found, status, retry = await scene.failure(*sent)
    assert found is code
    told = error_details_pb2.RetryInfo()
    assert any(each.Unpack(told) for each in status.details)
    assert told.retry_delay.seconds == seconds
    assert error_details_pb2.RetryInfo.FromString(retry) == told
    assert await scene.send(*sent) == ExportLogsServiceResponse()
    assert len(scene.recorder.recorded) == 100 + 101


async def test_the_sdk_waits_as_it_is_told_and_sends_again(scene: Scene) -> None:
    scene.recorder.errors = [QueueFull(), QueueUnavailable()]
    exporter: Any = otel.grpc_exporter(scene.address)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    exporter._shutdown_in_progress.wait = wait
    assert await asyncio.to_thread(otel.send, exporter, ["a", "b"]) == [True]
    assert waits == [5, 1]
    assert len(scene.recorder.recorded) == 2


async def test_nothing_more_is_taken_of_a_call_that_fails(scene: Scene) -> None:
    scene.recorder.errors = [QueueFull()] * 6
    await scene.failure(*[record("a")] * (2 * records.SHARE_RECORDS))
    assert scene.recorder.recorded == []
    assert scene.log == ["record"]


async def test_a_record_with_an_id_is_recorded_once(scene: Scene) -> None:
    for _ in range(2):
        sent = (record("a", "uid-1"), record(SSN, "uid-2"), record("c"))
        answer = await scene.send(*sent)
        assert answer.partial_success.rejected_log_records == 1
    assert len(scene.recorder.recorded) == 2 + 2
    assert len(scene.alerts.raised) == 1


async def test_an_id_stands_for_one_record(scene: Scene) -> None:
    answer = await scene.send(record("a", "uid-1"), record("b", "uid-1"), record("a", "uid-1"))
    assert "1 of 3 records refused: REQUEST_ID_REUSED 1." in answer.partial_success.error_message
    assert len(scene.recorder.recorded) == 1


async def test_what_cannot_be_judged_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(Gate, "suspects", fail)
    monkeypatch.setattr(Gate, "judge", fail)
    answer = await scene.send(record("a"))
    assert answer.partial_success.error_message == "1 of 1 records refused: DETECTION_FAILED 1."
    assert scene.recorder.recorded == []


async def test_gzip(scene: Scene) -> None:
    sent = [record(str(number)) for number in range(1000)]
    answer = await scene.send(*sent, compression=grpc.Compression.Gzip)
    assert answer == ExportLogsServiceResponse()
    assert len(scene.recorder.recorded) == 1000
