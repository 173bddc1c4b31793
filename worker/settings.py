"""Settings of the worker, read from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from job_store.settings import StoreSettings
from mesh.settings import ProcessSettings


class WorkerSettings(ProcessSettings, StoreSettings):
    """Every variable is prefixed with SLUICE_."""

    listen: str = "127.0.0.1:50053"
    """Where grpc.health.v1 is served; the worker takes no other calls (SLUICE_LISTEN)."""
    metrics_listen: str = "127.0.0.1:9103"
    drain_seconds: float = 0.0
    """No gateway sends calls here, so there is nothing to wait for (SLUICE_DRAIN_SECONDS)."""
    grace_seconds: float = Field(10.0, gt=0)
    """How long a write in progress may take after SIGTERM; what is not done by then goes back to
    the queue (SLUICE_GRACE_SECONDS)."""
    alert_target: str = "127.0.0.1:50052"
    """Where the alert service listens (SLUICE_ALERT_TARGET)."""
    influx_url: str = "http://127.0.0.1:8086"
    """InfluxDB, 1.8 or 2.x (SLUICE_INFLUX_URL)."""
    influx_token_file: str = ""
    """A file to read the token from, at the start, instead of naming it
    (SLUICE_INFLUX_TOKEN_FILE)."""
    influx_token: SecretStr = Field(SecretStr(""), validate_default=True)
    """For 2.x a token, for 1.8 `user:password`, or empty when it asks for none. The worker needs
    one that may write the bucket, the audit one that may read it (SLUICE_INFLUX_TOKEN)."""
    influx_org: str = ""
    """The organization of 2.x; 1.8 has none (SLUICE_INFLUX_ORG)."""
    influx_bucket: str = "logs"
    """The bucket of 2.x, the database of 1.8 (SLUICE_INFLUX_BUCKET)."""
    worker_threads: int = Field(2, ge=1, le=64)
    """Batches of jobs that are written at the same time (SLUICE_WORKER_THREADS)."""
    heartbeat_seconds: float = Field(8.0, ge=2, le=60)
    """After this long without a sign of life a worker counts as dead and its jobs go to others.
    Every worker of a mesh has the same value (SLUICE_HEARTBEAT_SECONDS)."""

    @field_validator("influx_token")
    @classmethod
    def _from_file(cls, token: SecretStr, info: ValidationInfo) -> SecretStr:
        path = info.data.get("influx_token_file")
        if not path:
            return token
        try:
            return SecretStr(Path(path).read_text().strip())
        except (OSError, UnicodeDecodeError):
            raise ValueError(
                "The file that SLUICE_INFLUX_TOKEN_FILE names cannot be read: correct its path."
            ) from None
