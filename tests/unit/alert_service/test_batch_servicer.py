"""Alerts that are raised by one call, with real reports."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.rpc import error_details_pb2

from alert_service.batch_servicer import MAX_ALERTS, AlertBatchServicer
from alert_service.recorder import AlertRecorder
from alert_service.report_store import Limits, ReportStore
from alert_service.watching import Watchers
from ingest_service.alerts import MAX_BATCH
from mesh.errors import CallError
from sluice.alert.v1.alert_batch_service_pb2 import RaiseAlertResult, RaiseAlertsRequest
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

WITHIN_THE_MESH: Any = SimpleNamespace(invocation_metadata=lambda: ())


class Scene:
    def __init__(self, path: Path, thread: ThreadPoolExecutor) -> None:
        self.store = ReportStore(path, Limits(3, 10**6, 0), Limits(10, 10**6, 0))
        self.store.probe()
        recorder = AlertRecorder(self.store, thread, thread, Watchers(10))
        self.servicer = AlertBatchServicer(recorder)

    async def raised(self, *alerts: RaiseAlertRequest) -> list[RaiseAlertResult]:
        request = RaiseAlertsRequest(alerts=alerts)
        return list((await self.servicer.RaiseAlerts(request, WITHIN_THE_MESH)).results)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ThreadPoolExecutor(1) as thread:
        yield Scene(tmp_path / "reports", thread)


def alert_of(alert_id: str, **fields: Any) -> RaiseAlertRequest:
    return RaiseAlertRequest(**({"alert_id": alert_id, "event_type": "PII"} | fields))


def reason_of(result: RaiseAlertResult) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(each.Unpack(info) for each in result.error.details)
    assert not result.HasField("receipt")
    return str(info.reason)


async def test_every_alert_has_its_report_or_its_error_in_order(scene: Scene) -> None:
    results = await scene.raised(
        alert_of("alert-00"),
        alert_of("alert-01", event_type="lower"),
        alert_of("alert-02"),
        alert_of("alert-03", at_edge=True),
        alert_of("alert-04"),
        alert_of("alert-05"),
    )
    kept = [each.receipt.alert_id for each in results if each.HasField("receipt")]
    assert kept == ["alert-00", "alert-02", "alert-04"]
    for alert_id in kept:
        assert scene.store.read(alert_id) is not None
    reasons = [reason_of(each) for each in results if each.HasField("error")]
    assert reasons == ["INVALID_INPUT", "INVALID_INPUT", "REPORTS_FULL"]
    assert scene.store.count() == 3
    assert scene.store.count(at_edge=True) == 0


async def test_a_repeated_call_changes_nothing(scene: Scene) -> None:
    alerts = [alert_of("alert-00"), alert_of("alert-01")]
    first = await scene.raised(*alerts)
    again = await scene.raised(*alerts, alert_of("alert-02"))
    assert again[:2] == first
    assert scene.store.count() == 3


async def test_a_malformed_request_id_is_left_out(scene: Scene) -> None:
    await scene.raised(
        alert_of("alert-00", http_request_id="a b"), alert_of("alert-01", http_request_id="a-b")
    )
    kept = [scene.store.read(f"alert-0{number}") for number in range(2)]
    assert [each and each.http_request_id for each in kept] == ["", "a-b"]


async def test_no_alerts_have_no_results(scene: Scene) -> None:
    assert await scene.raised() == []


async def test_too_many_alerts_are_refused_together(scene: Scene) -> None:
    with pytest.raises(CallError) as caught:
        await scene.raised(*[alert_of("alert-00")] * (MAX_ALERTS + 1))
    assert [each.reason for each in caught.value.fields] == ["TOO_MANY"]
    assert scene.store.count() == 0


def test_ingest_raises_no_more_alerts_than_a_call_may() -> None:
    assert MAX_BATCH <= MAX_ALERTS
