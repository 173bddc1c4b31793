"""Settings of the local mesh: ports, numbers of processes, folders and named servers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from deploy.local.bootstrap import ROOT
from mesh.settings import LOOPBACK_NAMES, Settings

HOST = "127.0.0.1"

SMALLEST_CLUSTER = 3
"""Primaries. One that is lost is replaced when most primaries agree that it is."""

# These have a meaning in the configuration of the supervisor, Redis or InfluxDB.
_UNSAFE = re.compile(r'[%;#"\\\x00-\x1f\x7f\ud800-\udfff]')


def _require_safe(path: Path) -> Path:
    if _UNSAFE.search(str(path)):
        raise ValueError('Name a folder whose path is UTF-8 without any of %, ;, #, " and \\.')
    return path


Folder = Annotated[Path, AfterValidator(Path.resolve)]
StateFolder = Annotated[Folder, AfterValidator(_require_safe)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,251}[a-z0-9])?")


def _host_names(text: str) -> str:
    names = [name.strip().lower() for name in text.split(",")]
    names = [name for name in names if name and name not in LOOPBACK_NAMES]
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError(
            "Send host names without ports, `*`, brackets or a dot at the end, separated by commas."
        )
    return ",".join(dict.fromkeys(names))


def _primaries(count: int) -> int:
    if count != 1 and count < SMALLEST_CLUSTER:
        raise ValueError(
            "Choose 1, or 3 and more: of two primaries none could replace the other, since a "
            "majority decides."
        )
    return count


HostNames = Annotated[str, AfterValidator(_host_names)]


class LocalSettings(Settings):
    """Every variable is prefixed with SLUICE_. Everything listens on loopback."""

    model_config = SettingsConfigDict(validate_default=True)

    state: StateFolder = ROOT / ".sluice"
    """Folder for data, logs and rendered configuration (SLUICE_STATE)."""
    reports_dir: Folder = ROOT / "alert_service" / "error_reports"
    """Where the alert service writes its reports (SLUICE_REPORTS_DIR)."""

    gateway_port: Port = 8001
    """JSON, gRPC, gRPC-Web and OTLP (SLUICE_GATEWAY_PORT)."""
    alert_port: Port = 5001
    """The alert engine's own door (SLUICE_ALERT_PORT)."""
    redis_port: Port = 6379
    """Queue and job records; of a cluster the first node's port (SLUICE_REDIS_PORT)."""
    redis_bus_port: Port = 16379
    """First of the ports on which the nodes of a cluster talk (SLUICE_REDIS_BUS_PORT)."""
    influx_port: Port = 8086
    """The database (SLUICE_INFLUX_PORT)."""
    influx_rpc_port: Port = 8088
    """InfluxDB's own backup port (SLUICE_INFLUX_RPC_PORT)."""
    admin_port: Port = 9901
    """Envoy's readiness and metrics (SLUICE_ADMIN_PORT)."""
    ingest_grpc_port: Port = 50051
    """First of the ingest processes' ports, one after the other (SLUICE_INGEST_GRPC_PORT)."""
    alert_grpc_port: Port = 50061
    """The alert service behind its door (SLUICE_ALERT_GRPC_PORT)."""
    worker_grpc_port: Port = 50071
    """First of the workers' health ports (SLUICE_WORKER_GRPC_PORT)."""
    ingest_metrics_port: Port = 9101
    """First of the ingest processes' metrics ports (SLUICE_INGEST_METRICS_PORT)."""
    alert_metrics_port: Port = 9111
    """The alert service's metrics (SLUICE_ALERT_METRICS_PORT)."""
    worker_metrics_port: Port = 9121
    """First of the workers' metrics ports (SLUICE_WORKER_METRICS_PORT)."""

    hosts: HostNames = ""
    """Host names of the gateway besides localhost, 127.0.0.1 and [::1], separated by commas. Calls
    may be to these names, and from pages served under them (SLUICE_HOSTS)."""

    ingest_processes: Count = 1
    """Ingest processes behind the gateway (SLUICE_INGEST_PROCESSES)."""
    worker_processes: Count = 1
    """Worker processes (SLUICE_WORKER_PROCESSES)."""
    gateway_threads: Count = 1
    """Envoy's worker threads (SLUICE_GATEWAY_THREADS)."""

    redis_url: str = ""
    """A Redis, or a cluster, to use instead of starting one (SLUICE_REDIS_URL)."""
    redis_primaries: Annotated[int, AfterValidator(_primaries)] = 1
    """1 for one Redis, 3 or more for a cluster of so many, each with a replica
    (SLUICE_REDIS_PRIMARIES)."""
    redis_partitions: Annotated[int, Field(ge=1, le=256)] | None = None
    """In how many partitions jobs lie; None for what the services choose
    (SLUICE_REDIS_PARTITIONS)."""
    redis_confirming_replicas: Annotated[int, Field(ge=0, le=5)] = 0
    """How many replicas must have on disk what is acknowledged; here a primary has one
    (SLUICE_REDIS_CONFIRMING_REPLICAS)."""
    influx_url: str = ""
    """An InfluxDB to use instead of starting one (SLUICE_INFLUX_URL)."""
    influx_org: str = ""
    """The organization of a named 2.x (SLUICE_INFLUX_ORG)."""
    influx_bucket: str = "logs"
    """The bucket of a named 2.x, the database of a named 1.8 (SLUICE_INFLUX_BUCKET)."""
    influx_token: SecretStr = Field(SecretStr(""), exclude=True)
    """What the named InfluxDB lets the worker write with: a token of 2.x, `user:password` of 1.8,
    or nothing (SLUICE_INFLUX_TOKEN)."""
    influx_read_token: SecretStr = Field(SecretStr(""), exclude=True)
    """What it lets the audit, the demo and `influx` read with, if that is another
    (SLUICE_INFLUX_READ_TOKEN)."""
    redis_fsync: Literal["always", "everysec"] = "always"
    """Redis' appendfsync: always, or everysec to risk the last second for less disk work
    (SLUICE_REDIS_FSYNC)."""
    redis_memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(mb|gb)$")] = "1gb"
    """Redis' maxmemory (SLUICE_REDIS_MEMORY)."""

    @property
    def redis_nodes(self) -> int:
        """How many Redis servers are started: 1, or a cluster's primaries and their replicas."""
        return 1 if self.redis_primaries == 1 else 2 * self.redis_primaries

    def at(self, state: Path, ports: dict[str, int]) -> Self:
        """Return these settings for another mesh, with its own state, reports and ports."""
        own = {"state": state, "reports_dir": state / "error_reports"}
        return self.model_copy(update=own | ports)

    def ports(self) -> dict[str, tuple[int, str]]:
        """Return every port to be listened on, by use, with the variable that changes it."""
        one = {
            "gateway": ("gateway_port", 1),
            "alert door": ("alert_port", 1),
            "Envoy admin": ("admin_port", 1),
            "ingest": ("ingest_grpc_port", self.ingest_processes),
            "alert service": ("alert_grpc_port", 1),
            "worker health": ("worker_grpc_port", self.worker_processes),
            "ingest metrics": ("ingest_metrics_port", self.ingest_processes),
            "alert metrics": ("alert_metrics_port", 1),
            "worker metrics": ("worker_metrics_port", self.worker_processes),
        }
        if not self.redis_url:
            one["Redis"] = ("redis_port", self.redis_nodes)
            if self.redis_nodes > 1:
                one["Redis bus"] = ("redis_bus_port", self.redis_nodes)
        if not self.influx_url:
            one["InfluxDB"] = ("influx_port", 1)
            one["InfluxDB backup"] = ("influx_rpc_port", 1)
        return {
            use if count == 1 else f"{use} {number}": (
                getattr(self, field) + number,
                f"SLUICE_{field}".upper(),
            )
            for use, (field, count) in one.items()
            for number in range(count)
        }
