from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alert_service.keeping import Room
from alert_service.reports import Limits, Reports
from mesh.health import Unhealthy
from sluice.alert.v1.alert_service_pb2 import Alert, Report


async def test_little_room_is_told_at_four_fifths_and_once(tmp_path: Path) -> None:
    reports = Reports(tmp_path / "reports", Limits(10, 10**6, 0), Limits(10, 10**6, 0))
    reports.probe()
    room = Room(reports)
    with capture_logs() as lines:
        for number in range(9):
            if number >= 8:
                with pytest.raises(Unhealthy, match="80% of the room"):
                    await room.probe()
                with pytest.raises(Unhealthy):
                    await room.probe()
            else:
                await room.probe()
            report = Report(alert=Alert(alert_id=f"alert-{number:02}", event_type="PII"))
            report.alert.raise_time.seconds = number
            reports.write(report)
        for number in range(2):
            (tmp_path / "reports" / f"alert_1970-01-01T00-00-0{number}.000000.txt").unlink()
            assert reports.read(f"alert-0{number}") is None
        await room.probe()
    alarms = [line for line in lines if line["event"] == "little room for reports"]
    assert len(alarms) == 1
    assert alarms[0]["share"] == 0.8
    assert "SLUICE_MAX_REPORTS" in alarms[0]["advice"]
    assert lines[-1]["event"] == "room for reports again"


async def test_bytes_count_as_well(tmp_path: Path) -> None:
    reports = Reports(tmp_path / "reports", Limits(10, 1000, 0), Limits(10, 10**6, 0))
    reports.probe()
    report = Report(alert=Alert(alert_id="alert-01"))
    report.payload.string_value = "x" * 850
    reports.write(report)
    with pytest.raises(Unhealthy):
        await Room(reports).probe()
