"""Settings of the ingest service, read from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from job_store.settings import StoreSettings
from mesh.settings import ProcessSettings

LONGEST_RETENTION_SECONDS = 10 * 365 * 24 * 3600


class IngestSettings(ProcessSettings, StoreSettings):
    """Every variable is prefixed with SLUICE_."""

    listen: str = "127.0.0.1:50051"
    metrics_listen: str = "127.0.0.1:9101"
    alert_target: str = "127.0.0.1:50052"
    """Where the alert service listens (SLUICE_ALERT_TARGET)."""
    policy_file: Path | None = None
    """The detection policy; the packaged one when unset (SLUICE_POLICY_FILE)."""
    reflection: bool = True
    """Whether gRPC reflection shows the public services (SLUICE_REFLECTION)."""
    max_job_items: int = 5000
    """Interactions in one job at most (SLUICE_MAX_JOB_ITEMS)."""
    max_job_bytes: int = 512 * 1024
    """Bytes of interactions after which a job is closed; one submission may exceed it alone
    (SLUICE_MAX_JOB_BYTES)."""
    max_waiting_bytes: int = 64 * 1024 * 1024
    """Bytes of interactions that may wait for Redis in this process; beyond that, callers get
    RESOURCE_EXHAUSTED (SLUICE_MAX_WAITING_BYTES)."""
    max_queued_jobs: int = 1_000_000
    """Unfinished jobs in Redis beyond which callers get RESOURCE_EXHAUSTED; so they do beyond 70 %
    of Redis' memory (SLUICE_MAX_QUEUED_JOBS)."""
    max_queued_alerts: int = 100_000
    """Alerts that may wait in Redis while the alert service is away; beyond that, what is refused
    gets UNAVAILABLE instead, and what the gateway refuses beyond half of it
    (SLUICE_MAX_QUEUED_ALERTS)."""
    max_queued_alert_bytes: int = 128 * 1024 * 1024
    """Redis' memory that these may take (SLUICE_MAX_QUEUED_ALERT_BYTES)."""
    status_retention_seconds: int = Field(24 * 3600, ge=1, le=LONGEST_RETENTION_SECONDS)
    """How long GetStatus remembers a task. A job takes about 90 bytes of Redis for as long
    (SLUICE_STATUS_RETENTION_SECONDS)."""
    request_retention_seconds: int = Field(24 * 3600, ge=1, le=LONGEST_RETENTION_SECONDS)
    """How long a request_id makes repeats safe. One takes about 70 bytes of Redis for as long and
    up to a quarter longer, so a day is for about 100 a second; send more in batches, which need
    one for all their submissions, or set less. A change forgets those that are stored
    (SLUICE_REQUEST_RETENTION_SECONDS)."""
