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
    """Reports kept at most; beyond that, alerts get RESOURCE_EXHAUSTED until some are removed
    (SLUICE_MAX_REPORTS)."""
    max_report_bytes: int = Field(10 * 1024**3, ge=1)
    """Bytes of all reports together at most, likewise (SLUICE_MAX_REPORT_BYTES)."""
    max_watchers: int = Field(200, ge=1)
    """Calls of WatchAlerts in flight at most (SLUICE_MAX_WATCHERS)."""
