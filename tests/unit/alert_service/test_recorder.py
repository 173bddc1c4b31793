"""Recording in real directories: what is aggregated, what is not, and what callers are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from alert_service.aggregation import MAX_CLIENTS
from alert_service.recorder import AlertRecorder
from alert_service.report_store import Limits, ReportStore
from alert_service.servicer import AlertServicer
from alert_service.watching import Watchers
from mesh.errors import CallError
from mesh.fingerprint import Fingerprint
from mesh.messages import length_delimited_field
from sluice.alert.v1.alert_service_pb2 import (
    Alert,
    GetAlertRequest,
    RaiseAlertRequest,
    WatchAlertsResponse,
)
from sluice.verdict.v1.verdict_pb2 import Finding, Violation


class Service:
    """A recorder with one thread for each kind of alert."""

    def __init__(self, path: Path) -> None:
        self.watchers = Watchers(10)
        self.writing = ThreadPoolExecutor(1)
        self.edge_writing = ThreadPoolExecutor(1)
        self.store = ReportStore(path, Limits(3, 10**6, 0), Limits(10, 10**6, 0))
        self.store.probe()
        self.start()

    def start(self) -> None:
        self.recorder = AlertRecorder(self.store, self.writing, self.edge_writing, self.watchers)

    async def at_edge(
        self, number: int, client: str = "192.0.2.7", **fields: Any
    ) -> tuple[str, str]:
        request = RaiseAlertRequest(
            alert_id=f"edge-{number:06}",
            http_request_id=f"{number:06}",
            event_type="INVALID_INPUT",
            violations=[Violation(rule="MALFORMED_JSON")],
            client=client,
            at_edge=True,
            **fields,
        )
        request.raise_time.seconds = 1_700_000_000
        answer = await self.recorder.record(request)
        return answer.alert_id, answer.report

    def count(self) -> int:
        return sum(each.count for each in self.store.page(500).alerts)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "reports")
    yield service
    service.writing.shutdown()
    service.edge_writing.shutdown()


async def test_a_report_shows_every_field_that_call_and_alert_share(service: Service) -> None:
    request = RaiseAlertRequest(
        alert_id="a" * 26,
        event_type="PII",
        findings=[Finding(detector="iban")],
        violations=[Violation(rule="MALFORMED_JSON")],
        detectors=["iban"],
        finding_count=3,
        violation_count=2,
        cut=True,
    )
    request.raise_time.seconds = 1_700_000_000
    shared = {*RaiseAlertRequest.DESCRIPTOR.fields_by_name} & {*Alert.DESCRIPTOR.fields_by_name}
    for name in shared:
        if getattr(request, name) == "":
            setattr(request, name, f"some-{name}")
    await service.recorder.record(request)
    (alert,) = service.store.page(500).alerts
    for name in sorted(shared):
        assert getattr(alert, name) == getattr(request, name), name


@pytest.mark.parametrize("name", ["findings", "violations"])
async def test_what_belongs_to_no_field_ends_no_watch(service: Service, name: str) -> None:
    # In what a watcher gets, it would lie one level deeper than a message may be.
    deep = b"\xfb\x06" * 99 + b"\xfc\x06" * 99
    number = RaiseAlertRequest.DESCRIPTOR.fields_by_name[name].number
    request = RaiseAlertRequest(alert_id="a" * 26, event_type="PII")
    request.MergeFromString(length_delimited_field(number, deep))
    with service.watchers.subscribe() as alerts:
        await service.recorder.record(request)
        told = WatchAlertsResponse(alert=await anext(alerts))
    assert WatchAlertsResponse.FromString(told.SerializeToString()) == told


async def test_an_aggregate_goes_on_after_a_restart(service: Service) -> None:
    first = await service.at_edge(0)
    for number in range(1, 10):
        assert await service.at_edge(number) == first
    await service.recorder.close()
    service.start()
    # The call that began it is repeated, since its caller saw it fail.
    assert await service.at_edge(0) == first
    for number in range(10, 20):
        assert await service.at_edge(number) == first
    await service.recorder.close()
    assert service.count() == 20
    assert service.store.count(at_edge=True) == 1


async def test_an_alert_that_was_told_before_it_was_delivered_is_found(service: Service) -> None:
    """As ingest tells it while this service is away, and with more clients than are told apart."""
    edge = Limits(MAX_CLIENTS + 10, 10**6, 0)
    store = service.store = ReportStore(service.store._path.with_name("more"), edge, edge)
    store.probe()
    service.start()
    reader = AlertServicer(service.recorder, store, service.writing, service.watchers)
    told = {}
    for number in range(MAX_CLIENTS + 20):
        client = f"192.0.{number // 256}.{number % 256}"
        told[client] = Fingerprint.of("MALFORMED_JSON", client, 1_700_000_000).identity
        await service.at_edge(number, client=client)
    await service.recorder.close()
    for client, alert_id in told.items():
        request = GetAlertRequest(alert_id=alert_id)
        alert = (await reader.GetAlert(request, Any)).alert  # type: ignore[arg-type]
        assert alert.client in (client, "")
        assert alert.count == (1 if alert.client else 20)
    unknown = Fingerprint.of("ANOTHER", "192.0.2.1", 1_700_000_000).identity
    with pytest.raises(CallError):
        await reader.GetAlert(GetAlertRequest(alert_id=unknown), Any)  # type: ignore[arg-type]


async def test_an_aggregate_whose_report_made_room_for_others_begins_anew(service: Service) -> None:
    """The reports of eleven clients, of which ten are kept."""
    for number in range(11):
        await service.at_edge(number, client=f"192.0.2.{number}")
    for number in (0, 10):
        alert_id, _ = await service.at_edge(20 + number, client=f"192.0.2.{number}")
        alert = service.store.read(alert_id)
        assert alert is not None
        assert alert.client == f"192.0.2.{number}"


async def test_an_alert_that_is_not_of_the_gateway_is_never_aggregated(service: Service) -> None:
    request = RaiseAlertRequest(event_type="PII", violations=[Violation(rule="MALFORMED_JSON")])
    answers = [await service.recorder.record(request) for _ in range(3)]
    assert len({each.report for each in answers}) == 3
    with pytest.raises(CallError) as caught:
        await service.recorder.record(request)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.reason == "REPORTS_FULL"
    assert caught.value.retry_after == 60
    # What the gateway refuses has room of its own.
    assert (await service.at_edge(1))[1].startswith("edge/")


async def test_alerts_do_not_wait_for_what_the_gateway_refused(service: Service) -> None:
    is_free = threading.Event()
    service.edge_writing.submit(is_free.wait)
    waiting = asyncio.create_task(service.at_edge(1))
    request = RaiseAlertRequest(event_type="PII")
    assert (await service.recorder.record(request)).report
    assert not waiting.done()
    is_free.set()
    assert (await waiting)[1].startswith("edge/")


async def test_watchers_are_told_once_of_an_aggregate(service: Service) -> None:
    with service.watchers.subscribe() as alerts:
        for number in range(5):
            await service.at_edge(number)
        service.watchers.close()
        seen = []
        with pytest.raises(CallError):
            async for alert in alerts:
                seen.append(alert)
    assert [(each.http_request_id, each.count) for each in seen] == [("000000", 1)]
    assert seen[0].report.startswith("edge/")


async def test_a_caller_that_goes_away_stops_no_report(service: Service) -> None:
    is_free = threading.Event()
    service.writing.submit(is_free.wait)
    request = RaiseAlertRequest(alert_id="alert-01", event_type="PII")
    call = asyncio.create_task(service.recorder.record(request))
    await asyncio.sleep(0)
    call.cancel()
    is_free.set()
    await service.recorder.close()
    assert service.store.read("alert-01") is not None
