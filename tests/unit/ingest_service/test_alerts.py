"""What ingest leaves out of an alert, so that it can be delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Value

from ingest_service import alerts as module
from ingest_service.alerts import MAX_CALLS, Alerts, deliverable
from job_store.errors import QueueUnavailable
from mesh.fingerprint import Fingerprint
from sluice.alert.v1.alert_service_pb2 import (
    Alert,
    GetAlertRequest,
    GetAlertResponse,
    RaiseAlertRequest,
    RaiseAlertResponse,
)
from sluice.alert.v1.alert_service_pb2_grpc import (
    AlertServiceServicer,
    add_AlertServiceServicer_to_server,
)
from sluice.job.v1.job_pb2 import DeliverAlert
from tests.unit.worker.test_alerts import nested

MIB = 1024 * 1024


class AlertService(AlertServiceServicer):
    """Takes alerts; hangs while it is not `free`."""

    def __init__(self) -> None:
        self.kept: dict[str, RaiseAlertRequest] = {}
        self.calls = self.in_flight = self.most = 0
        self.free = asyncio.Event()
        self.free.set()

    async def RaiseAlert(self, request: RaiseAlertRequest, context: Any) -> RaiseAlertResponse:
        await self.take_time()
        self.kept[request.alert_id] = request
        return RaiseAlertResponse(alert_id=request.alert_id)

    async def GetAlert(self, request: GetAlertRequest, context: Any) -> GetAlertResponse:
        await self.take_time()
        if request.alert_id not in self.kept:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        kept = self.kept[request.alert_id]
        return GetAlertResponse(alert=Alert(alert_id=kept.alert_id, detectors=kept.detectors))

    async def take_time(self) -> None:
        self.calls += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0.001)
            await self.free.wait()
        finally:
            self.in_flight -= 1


class Queue:
    """Keeps what is queued."""

    def __init__(self) -> None:
        self.alerts: dict[str, RaiseAlertRequest] = {}
        self.error: Exception | None = None

    def enqueue(self, alert: RaiseAlertRequest) -> None:
        self.alerts[alert.alert_id] = alert

    def read(self, alert_id: str) -> RaiseAlertRequest | None:
        if self.error is not None:
            raise self.error
        return self.alerts.get(alert_id)


class Scene:
    """Alerts between a service and a queue."""

    def __init__(self) -> None:
        self.service = AlertService()  # type: ignore[abstract]
        self.queue = Queue()
        self.server = grpc.aio.server()
        add_AlertServiceServicer_to_server(self.service, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def start(self) -> None:
        await self.server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        self.alerts = Alerts(channel, self.queue)  # type: ignore[arg-type]

    async def stop(self) -> None:
        self.service.free.set()
        await self.server.stop(None)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.start()
    yield scene
    await scene.stop()


async def test_thousands_of_alerts_at_once_are_told_a_few_at_a_time(scene: Scene) -> None:
    names = [f"alert-{number:04}" for number in range(1000)]
    raised = [scene.alerts.raise_alert(partial(RaiseAlertRequest, alert_id=name)) for name in names]
    assert await asyncio.gather(*raised) == names
    read = await asyncio.gather(*map(scene.alerts.read_alert, names))
    assert [each.alert_id for each in read] == names
    assert scene.service.most <= MAX_CALLS
    assert scene.queue.alerts == {}


async def test_an_alert_is_made_when_its_turn_has_come(scene: Scene) -> None:
    scene.service.free.clear()
    made: list[str] = []

    def make(name: str) -> RaiseAlertRequest:
        made.append(name)
        return RaiseAlertRequest(alert_id=name)

    names = [f"alert-{number:04}" for number in range(2 * MAX_CALLS)]
    raised = [asyncio.create_task(scene.alerts.raise_alert(partial(make, name))) for name in names]
    async with asyncio.timeout(10):
        while scene.service.calls < MAX_CALLS:
            await asyncio.sleep(0.001)
    assert made == names[:MAX_CALLS]
    scene.service.free.set()
    assert await asyncio.gather(*raised) == names == made


async def test_one_wait_for_a_service_that_hangs_is_enough_for_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.3)
    scene.service.free.clear()
    names = [f"alert-{number:04}" for number in range(5 * MAX_CALLS)]
    raised = [scene.alerts.raise_alert(partial(RaiseAlertRequest, alert_id=name)) for name in names]
    assert await asyncio.gather(*raised) == names
    assert sorted(scene.queue.alerts) == names
    assert scene.service.calls <= 2 * MAX_CALLS
    # The next one is told again.
    scene.service.free.set()
    await scene.alerts.raise_alert(partial(RaiseAlertRequest, alert_id="alert-next"))
    assert "alert-next" in scene.service.kept


async def test_an_alert_that_waits_is_read_from_the_queue(scene: Scene) -> None:
    alert = an_alert()
    alert.detectors.append("us_ssn")
    alert.violations.add(rule="TOO_DEEP")
    scene.queue.enqueue(alert)
    read = await scene.alerts.read_alert(alert.alert_id)
    assert (read.findings, read.violations) == (alert.findings, alert.violations)
    assert read.detectors == ["us_ssn"]
    await scene.server.stop(None)
    assert await scene.alerts.read_alert(alert.alert_id) == read
    assert await scene.alerts.read_alert("alert-02") == Alert()
    scene.queue.error = QueueUnavailable()
    assert await scene.alerts.read_alert(alert.alert_id) == Alert()


async def test_while_nobody_takes_alerts_the_id_is_that_of_the_one_that_will_count() -> None:
    queue = Queue()
    # Nothing listens there.
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    alerts = Alerts(channel, queue)  # type: ignore[arg-type]
    told = []
    for number, client in enumerate(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]):
        alert = RaiseAlertRequest(alert_id=f"edge-{number:04}", client=client, at_edge=True)
        alert.violations.add(rule="MALFORMED_JSON")
        alert.raise_time.seconds = 1_700_000_000 + number
        told.append(
            await alerts.raise_alert(
                partial(RaiseAlertRequest.FromString, alert.SerializeToString())
            )
        )
    assert told[0] == told[1] != told[2]
    assert told[0] == Fingerprint("MALFORMED_JSON", "2001:db8::/64", 28_333_333).identity
    # Each is a message of its own in the queue, and a repeat of it is none.
    assert [*queue.alerts] == ["edge-0000", "edge-0001", "edge-0002"]
    assert await alerts.raise_alert(an_alert) == "alert-01"
    await channel.close()


def an_alert() -> RaiseAlertRequest:
    alert = RaiseAlertRequest(alert_id="alert-01", event_type="PII", source="web")
    alert.findings.add(detector="us_ssn", path="/data", end=11)
    return alert


def test_what_can_be_delivered_stays_whole() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * MIB
    sent = deliverable(alert)
    assert sent.payload == alert.payload
    assert (sent.finding_count, sent.cut) == (1, False)
    assert sent.findings == alert.findings


def test_a_payload_that_is_too_large_goes() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * 3 * MIB
    sent = deliverable(alert)
    assert sent.cut
    assert not sent.HasField("payload")
    assert sent.findings == alert.findings
    assert alert.HasField("payload")


def test_too_many_findings_go_and_are_counted() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * MIB
    for _ in range(100_000):
        alert.findings.add(detector="us_ssn", path="/data/" + "x" * 100)
        alert.violations.add(path="/data/" + "x" * 100, rule="TOO_DEEP")
    sent = deliverable(alert)
    assert sent.cut
    assert sent.payload == alert.payload
    assert (sent.finding_count, sent.violation_count) == (100_001, 100_000)
    assert sent.findings[0] == alert.findings[0]
    assert 500 < len(sent.findings) < 5000
    assert DeliverAlert(alert=sent).ByteSize() < 2 * MIB


def test_a_payload_stays_while_it_can_be_read_in_the_queue() -> None:
    kept = set()
    for kind in ("list", "struct"):
        for levels in range(1, 60):
            alert = an_alert()
            alert.payload.CopyFrom(nested(kind, levels))
            sent = deliverable(alert)
            assert DeliverAlert.FromString(DeliverAlert(alert=sent).SerializeToString())
            assert sent.cut != sent.HasField("payload")
            if not sent.cut:
                kept.add((kind, levels))
    # What may be submitted is kept.
    assert {(kind, 31) for kind in ("list", "struct")} <= kept
    assert ("struct", 40) not in kept


def test_null_is_a_payload() -> None:
    alert = an_alert()
    alert.payload.CopyFrom(Value(null_value=0))  # type: ignore[arg-type]
    assert deliverable(alert).HasField("payload")
