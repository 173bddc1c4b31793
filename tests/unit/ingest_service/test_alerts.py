"""What ingest leaves out of an alert, so that it can be delivered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Value

from ingest_service import alerts as module
from ingest_service.alerts import MAX_BATCH, MAX_CALLS, MAX_QUEUEING, Alerts, deliverable
from job_store.errors import QueueFull, QueueUnavailable
from mesh.fingerprint import Fingerprint
from sluice.alert.v1.alert_batch_service_pb2 import (
    RaiseAlertResult,
    RaiseAlertsRequest,
    RaiseAlertsResponse,
)
from sluice.alert.v1.alert_batch_service_pb2_grpc import (
    AlertBatchServiceServicer,
    add_AlertBatchServiceServicer_to_server,
)
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


class AlertService(AlertServiceServicer, AlertBatchServiceServicer):
    """Takes alerts; hangs while it is not `free`."""

    def __init__(self) -> None:
        self.kept: dict[str, RaiseAlertRequest] = {}
        self.batches: list[int] = []
        """The sizes of what came together."""
        self.full: set[str] = set()
        """Ids of the alerts for which there is no room."""
        self.unanswered: set[str] = set()
        """Ids of the alerts that get no result."""
        self.odd: dict[str, RaiseAlertResult] = {}
        """Results, by the id of their alert, that no alert service of now has."""
        self.calls = self.in_flight = self.most = 0
        self.free = asyncio.Event()
        self.free.set()

    async def RaiseAlert(self, request: RaiseAlertRequest, context: Any) -> RaiseAlertResponse:
        await self.take_time()
        self.kept[request.alert_id] = request
        return RaiseAlertResponse(alert_id=request.alert_id)

    async def RaiseAlerts(self, request: RaiseAlertsRequest, context: Any) -> RaiseAlertsResponse:
        self.batches.append(len(request.alerts))
        await self.take_time()
        answer = RaiseAlertsResponse()
        for alert in request.alerts:
            if alert.alert_id in self.unanswered:
                continue
            if alert.alert_id in self.odd:
                answer.results.append(self.odd[alert.alert_id])
            elif alert.alert_id in self.full:
                answer.results.add().error.code = grpc.StatusCode.UNAVAILABLE.value[0]
            else:
                self.kept[alert.alert_id] = alert
                answer.results.add().receipt.alert_id = alert.alert_id
        return answer

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
        self.full: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def enqueue(self, alert: RaiseAlertRequest) -> None:
        assert self.free.wait(10)
        if self.full is not None:
            raise self.full
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
        add_AlertBatchServiceServicer_to_server(self.service, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def start(self) -> None:
        await self.server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        self.alerts = Alerts(channel, self.queue)  # type: ignore[arg-type]

    async def stop(self) -> None:
        self.service.free.set()
        self.queue.free.set()
        await self.server.stop(None)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.start()
    yield scene
    await scene.stop()


async def test_thousands_of_alerts_at_once_are_told_in_a_few_calls(scene: Scene) -> None:
    names = [f"alert-{number:04}" for number in range(1000)]
    raised = [scene.alerts.raise_alert(partial(RaiseAlertRequest, alert_id=name)) for name in names]
    assert await asyncio.gather(*raised) == names
    assert [*scene.service.kept] == names
    assert scene.service.batches == [MAX_BATCH] * (1000 // MAX_BATCH)
    assert scene.service.most == 1
    read = await asyncio.gather(*map(scene.alerts.read_alert, names))
    assert [each.alert_id for each in read] == names
    assert scene.service.most <= MAX_CALLS
    assert scene.queue.alerts == {}


async def test_alerts_that_come_while_a_call_is_in_flight_share_the_next(scene: Scene) -> None:
    scene.service.free.clear()
    names = [f"alert-{number:02}" for number in range(30)]
    raised = [begun(scene, names[0])]
    await until(lambda: scene.service.calls == 1)
    raised += [begun(scene, name) for name in names[1:]]
    scene.service.free.set()
    assert await asyncio.gather(*raised) == names
    assert scene.service.batches == [1, 29]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 60)
    monkeypatch.setattr("mesh.group_commit.MAX_LINGER_SECONDS", 60)


async def test_a_call_waits_for_as_many_alerts_as_the_last_one_had(
    patience: None, scene: Scene
) -> None:
    names = [f"alert-{number:02}" for number in range(7)]
    # Alone nobody waits, before or after.
    assert await begun(scene, names[0]) == names[0]
    assert await begun(scene, names[1]) == names[1]
    await asyncio.gather(*[begun(scene, name) for name in names[2:4]])
    early = begun(scene, names[4])
    for _ in range(20):
        await asyncio.sleep(0)
    assert scene.service.batches == [1, 1, 2]
    await asyncio.gather(early, begun(scene, names[5]))
    assert scene.service.batches == [1, 1, 2, 2]


async def test_a_call_does_not_wait_long_for_alerts_that_do_not_come(scene: Scene) -> None:
    await asyncio.gather(*[begun(scene, f"alert-{number:02}") for number in range(20)])
    async with asyncio.timeout(10):
        assert await begun(scene, "alert-20") == "alert-20"
    assert scene.service.batches == [20, 1]


async def test_an_alert_is_made_when_its_turn_has_come(scene: Scene) -> None:
    scene.service.free.clear()
    made: list[str] = []

    def make(name: str) -> RaiseAlertRequest:
        made.append(name)
        return RaiseAlertRequest(alert_id=name)

    names = [f"alert-{number:04}" for number in range(2 * MAX_BATCH)]
    raised = [asyncio.create_task(scene.alerts.raise_alert(partial(make, name))) for name in names]
    await until(lambda: scene.service.calls == 1)
    assert made == names[:MAX_BATCH]
    scene.service.free.set()
    assert await asyncio.gather(*raised) == names == made


async def test_large_alerts_fit_their_calls(scene: Scene) -> None:
    names = [f"alert-{number:02}" for number in range(9)]
    large = Value(string_value="x" * MIB)
    raised = [
        scene.alerts.raise_alert(partial(RaiseAlertRequest, alert_id=name, payload=large))
        for name in names
    ]
    assert await asyncio.gather(*raised) == names
    assert scene.service.batches == [1] * 9
    assert scene.queue.alerts == {}


async def test_what_there_is_no_room_for_is_queued_and_the_others_are_not(scene: Scene) -> None:
    names = [f"alert-{number:02}" for number in range(5)]
    scene.service.full = {names[1], names[3]}
    assert await asyncio.gather(*[begun(scene, name) for name in names]) == names
    assert scene.service.batches == [5]
    assert {*scene.service.kept} == {names[0], names[2], names[4]}
    assert {*scene.queue.alerts} == scene.service.full


async def test_an_alert_that_is_being_queued_holds_up_no_other(scene: Scene) -> None:
    scene.service.full = {"alert-01"}
    scene.queue.free.clear()
    queued = begun(scene, "alert-01")
    async with asyncio.timeout(5):
        assert await begun(scene, "alert-02") == "alert-02"
        assert await begun(scene, "alert-03") == "alert-03"
    assert not queued.done()
    scene.queue.free.set()
    assert await queued == "alert-01"
    assert [*scene.queue.alerts] == ["alert-01"]


async def test_few_alerts_are_made_to_be_queued_at_the_same_time(scene: Scene) -> None:
    made: list[str] = []

    def make(name: str) -> RaiseAlertRequest:
        made.append(name)
        return RaiseAlertRequest(alert_id=name)

    names = [f"alert-{number:04}" for number in range(3 * MAX_BATCH)]
    scene.service.full = {*names}
    scene.queue.free.clear()
    raised = [asyncio.create_task(scene.alerts.raise_alert(partial(make, name))) for name in names]
    await until(lambda: len(scene.service.batches) == 3 and len(made) >= len(names) + MAX_QUEUEING)
    assert await begun(scene, "alert-good") == "alert-good"
    assert len(made) == len(names) + MAX_QUEUEING
    scene.queue.free.set()
    assert await asyncio.gather(*raised) == names
    assert sorted(scene.queue.alerts) == names


async def test_while_the_service_is_away_thousands_of_alerts_leave_others_their_turn(
    scene: Scene,
) -> None:
    await scene.server.stop(None)
    count = 0

    def make(name: str) -> RaiseAlertRequest:
        nonlocal count
        count += 1
        return RaiseAlertRequest(alert_id=name)

    names = [f"alert-{number:04}" for number in range(20 * MAX_BATCH)]
    raised = asyncio.gather(*[scene.alerts.raise_alert(partial(make, name)) for name in names])
    most = before = 0
    while not raised.done():
        await asyncio.sleep(0)
        most, before = max(most, count - before), count
    assert await raised == names
    assert sorted(scene.queue.alerts) == names
    assert most <= MAX_BATCH + MAX_QUEUEING


async def test_an_answer_that_lacks_a_result_counts_for_none(scene: Scene) -> None:
    scene.service.unanswered = {"alert-01"}
    names = [f"alert-{number:02}" for number in range(3)]
    assert await asyncio.gather(*[begun(scene, name) for name in names]) == names
    assert [*scene.queue.alerts] == names
    assert await begun(scene, "alert-03") == "alert-03"
    assert "alert-03" in scene.service.kept


async def test_only_a_receipt_confirms_an_alert(scene: Scene) -> None:
    scene.service.odd = {"alert-01": RaiseAlertResult(), "alert-02": RaiseAlertResult()}
    scene.service.odd["alert-02"].error.code = 99
    names = [f"alert-{number:02}" for number in range(4)]
    assert await asyncio.gather(*[begun(scene, name) for name in names]) == names
    assert [*scene.service.kept] == ["alert-00", "alert-03"]
    assert [*scene.queue.alerts] == ["alert-01", "alert-02"]


async def test_an_alert_that_is_not_durable_anywhere_fails_alone(scene: Scene) -> None:
    scene.service.full = {"alert-01"}
    scene.queue.full = QueueFull()

    def broken() -> RaiseAlertRequest:
        raise ValueError("a bug of ours")

    outcomes = await asyncio.gather(
        begun(scene, "alert-00"),
        begun(scene, "alert-01"),
        scene.alerts.raise_alert(broken),
        begun(scene, "alert-03"),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [str, QueueFull, ValueError, str]
    assert await begun(scene, "alert-04") == "alert-04"


async def test_one_wait_for_a_service_that_hangs_is_enough_for_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.3)
    scene.service.free.clear()
    names = [f"alert-{number:04}" for number in range(5 * MAX_BATCH)]
    raised = [scene.alerts.raise_alert(partial(RaiseAlertRequest, alert_id=name)) for name in names]
    assert await asyncio.gather(*raised) == names
    assert sorted(scene.queue.alerts) == names
    assert scene.service.calls == 1
    # The next one is told again.
    scene.service.free.set()
    await begun(scene, "alert-next")
    assert "alert-next" in scene.service.kept


async def test_what_an_earlier_alert_service_cannot_take_is_queued() -> None:
    """It has no such call: while versions are mixed, the worker delivers the alerts."""
    server = grpc.aio.server()
    service = AlertService()  # type: ignore[abstract]
    add_AlertServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    queue = Queue()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        alerts = Alerts(channel, queue)  # type: ignore[arg-type]
        assert await alerts.raise_alert(an_alert) == "alert-01"
    assert [*queue.alerts] == ["alert-01"]
    await server.stop(None)


async def test_what_the_gateway_refused_holds_up_no_other_alert(scene: Scene) -> None:
    scene.service.free.clear()
    raised = begun(scene, "alert-01")
    await until(lambda: scene.service.calls == 1)
    counted = RaiseAlertRequest(alert_id="edge-0001", at_edge=True)
    told = asyncio.create_task(scene.alerts.count_alert(counted))
    await until(lambda: scene.service.calls == 2)
    assert scene.service.batches == [1]
    scene.service.free.set()
    assert (await raised, await told) == ("alert-01", "edge-0001")


def begun(scene: Scene, name: str) -> asyncio.Task[str]:
    make = partial(RaiseAlertRequest, alert_id=name)
    return asyncio.create_task(scene.alerts.raise_alert(make))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


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
        told.append(await alerts.count_alert(alert))
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
