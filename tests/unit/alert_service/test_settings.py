from __future__ import annotations

import pytest

from alert_service.settings import AlertSettings


def test_defaults_suit_local_use() -> None:
    settings = AlertSettings()
    assert settings.listen == "127.0.0.1:50052"
    assert settings.metrics_listen == "127.0.0.1:9102"
    assert settings.reports_dir.parts[-2:] == ("alert_service", "error_reports")
    assert (settings.max_reports, settings.report_days) == (100_000, 90)
    assert (settings.max_edge_reports, settings.edge_report_days) == (5_000, 7)


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_REPORTS_DIR", "/var/lib/reports")
    assert str(AlertSettings().reports_dir) == "/var/lib/reports"


def test_a_wrong_bound_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_MAX_REPORTS", "0")
    with pytest.raises(SystemExit):
        AlertSettings.load()
    assert capsys.readouterr().err.startswith("SLUICE_MAX_REPORTS: ")
