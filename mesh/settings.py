"""Settings, read from the environment: how they are loaded, and those that every process has."""

from __future__ import annotations

import sys
from typing import Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""The host names under which this machine calls itself."""


class Settings(BaseSettings):
    """Read from the environment. Every variable is prefixed with SLUICE_."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", frozen=True)

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment.

        Exits with code 2 and a line for each variable that is wrong. A value, which may be a
        secret, is not repeated.
        """
        try:
            return cls()
        except ValidationError as error:
            for each in error.errors(include_input=False, include_url=False):
                name = "_".join(map(str, each["loc"])).upper()
                print(f"SLUICE_{name}: {each['msg']}", file=sys.stderr)
            sys.exit(2)


class ProcessSettings(Settings):
    """Where a process listens, how it stops, and how much it takes at a time."""

    listen: str
    """Address for gRPC, `host:port` (SLUICE_LISTEN)."""
    metrics_listen: str
    """Address for Prometheus metrics over HTTP, `host:port` (SLUICE_METRICS_LISTEN)."""
    log_level: str = "info"
    """debug, info, warning or error (SLUICE_LOG_LEVEL)."""
    drain_seconds: float = 2.0
    """How long a stopping process says NOT_SERVING before it refuses calls; longer than the gateway
    takes to notice (SLUICE_DRAIN_SECONDS)."""
    grace_seconds: float = 10.0
    """How long calls in flight may take after that (SLUICE_GRACE_SECONDS)."""
    max_concurrent_calls: int = 2000
    """Calls of one request and one answer in flight, beyond which further ones get
    RESOURCE_EXHAUSTED; health checks are answered in any case (SLUICE_MAX_CONCURRENT_CALLS)."""
    max_concurrent_streams: int = 1000
    """Likewise for calls on which the caller streams, SubmitStream above all
    (SLUICE_MAX_CONCURRENT_STREAMS)."""
    max_concurrent_watches: int = 1000
    """Likewise for calls that only watch: WatchStatus, WatchAlerts, Watch of health
    (SLUICE_MAX_CONCURRENT_WATCHES)."""
    stream_idle_seconds: float = Field(60.0, gt=0)
    """How long a caller may send nothing on a stream while nothing is unanswered; then the stream
    ends (SLUICE_STREAM_IDLE_SECONDS)."""
