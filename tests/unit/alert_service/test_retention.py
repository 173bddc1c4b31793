from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alert_service.report_store import Limits, ReportStore
from alert_service.retention import SpaceMonitor
from mesh.health import Unhealthy
from sluice.alert.v1.alert_service_pb2 import Alert, Report
from tests.kit.reports import write


async def test_little_room_is_told_at_four_fifths_and_once(tmp_path: Path) -> None:
    store = ReportStore(tmp_path / "reports", Limits(10, 10**6, 0), Limits(10, 10**6, 0))
    store.probe()
    monitor = SpaceMonitor(store)
    with capture_logs() as lines:
        for number in range(9):
            if number >= 8:
                with pytest.raises(Unhealthy, match="80% of the room"):
                    await monitor.probe()
                with pytest.raises(Unhealthy):
                    await monitor.probe()
            else:
                await monitor.probe()
            report = Report(alert=Alert(alert_id=f"alert-{number:02}", event_type="PII"))
            report.alert.raise_time.seconds = number
            write(store, report)
        for number in range(2):
            (tmp_path / "reports" / f"alert_1970-01-01T00-00-0{number}.000000.txt").unlink()
            assert store.read(f"alert-0{number}") is None
        await monitor.probe()
    alarms = [line for line in lines if line["event"] == "little room for reports"]
    assert len(alarms) == 1
    assert alarms[0]["share"] == 0.8
    assert "SLUICE_MAX_REPORTS" in alarms[0]["advice"]
    assert lines[-1]["event"] == "room for reports again"


async def test_bytes_count_as_well(tmp_path: Path) -> None:
    store = ReportStore(tmp_path / "reports", Limits(10, 1000, 0), Limits(10, 10**6, 0))
    store.probe()
    report = Report(alert=Alert(alert_id="alert-01"))
    report.payload.string_value = "x" * 850
    write(store, report)
    with pytest.raises(Unhealthy):
        await SpaceMonitor(store).probe()
