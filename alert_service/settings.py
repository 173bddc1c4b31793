"""Settings of the alert service, read from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mesh.settings import ProcessSettings


class AlertSettings(ProcessSettings):
    """Every variable is prefixed with SLUICE_."""

    listen: str = "127.0.0.1:50052"
    metrics_listen: str = "127.0.0.1:9102"
    reports_dir: Path = Path(__file__).parent / "error_reports"
    """Where the report files are kept (SLUICE_REPORTS_DIR)."""
    max_reports: int = Field(100_000, ge=1)
    """Reports kept at most; beyond that, alerts get UNAVAILABLE until some are removed, and those
    that ingest raised wait in the queue (SLUICE_MAX_REPORTS)."""
    max_report_bytes: int = Field(10 * 1024**3, ge=1)
    """Bytes of all reports together at most, likewise (SLUICE_MAX_REPORT_BYTES)."""
    report_days: int = Field(90, ge=0, le=36_500)
    """Days after which a report is removed, 0: never. A report holds what must not be kept anywhere
    else; a quarter is long enough to look into it (SLUICE_REPORT_DAYS)."""
    max_edge_reports: int = Field(5_000, ge=1)
    """Reports about requests that the gateway refused; beyond that the oldest of them are removed
    (SLUICE_MAX_EDGE_REPORTS)."""
    max_edge_report_bytes: int = Field(100 * 1024**2, ge=1)
    """Bytes of these reports at most, likewise (SLUICE_MAX_EDGE_REPORT_BYTES)."""
    edge_report_days: int = Field(7, ge=0, le=36_500)
    """Days after which such a report is removed, 0: never. They hold nothing that was sent, and a
    week shows a pattern (SLUICE_EDGE_REPORT_DAYS)."""
    max_watchers: int = Field(200, ge=1)
    """Calls of WatchAlerts in flight at most (SLUICE_MAX_WATCHERS)."""
