"""A mesh to strike: real processes, with proxies before Redis and InfluxDB where rows need them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.mesh import LocalMesh
from tests.faults.checker import Places
from tests.kit.processes import OUR_CODE
from tests.kit.proxies import InfluxProxy, RedisProxy

HEARTBEAT_SECONDS = 4.0
"""Half of the default, so that rows which wait for it take half the time."""

REDELIVERED = HEARTBEAT_SECONDS + 5
"""Seconds within which jobs of a worker that is gone are with another one."""

CLOCK = Path(__file__).parent / "clock"


@dataclass(frozen=True)
class Kind:
    """What a mesh is made of. Rows of one kind follow each other on one mesh."""

    name: str
    settings: Mapping[str, int | str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    proxied: bool = False
    """Whether the rooms reach Redis and InfluxDB through a proxy."""
    clocked: bool = False
    """Whether the rooms' clocks can be set."""
    policy: str = ""
    """What ingest's policy file holds at first; empty for the packaged policy."""


TWO_OF_EACH = Kind("two of each", {"ingest_processes": 2, "worker_processes": 2})
CLUSTER = Kind(
    "a Redis cluster",
    {
        **TWO_OF_EACH.settings,
        "redis_primaries": 3,
        "redis_confirming_replicas": 1,
    },
)
ONE_OF_EACH = Kind("one of each behind proxies", proxied=True)


class Stage:
    """One running mesh of a kind, with everything of it under `state`."""

    def __init__(self, state: Path, kind: Kind) -> None:
        self.state = state
        self.kind = kind
        self.redis_proxy = RedisProxy() if kind.proxied else None
        self.influx_proxy = InfluxProxy() if kind.proxied else None
        environment = {"SLUICE_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS), **kind.environment}
        if self.redis_proxy and self.influx_proxy:
            environment["SLUICE_REDIS_URL"] = self.redis_proxy.url
            environment["SLUICE_INFLUX_URL"] = self.influx_proxy.url
        if kind.clocked:
            environment["FAULTS_CLOCKS"] = str(state)
            environment["PYTHONPATH"] = f"{CLOCK}:{OUR_CODE['PYTHONPATH']}"
            for room in ("ingest_service", "worker"):
                self.set_clock(room, 0.0)
        self.policy = state / "policy.yaml"
        if kind.policy:
            state.mkdir(parents=True, exist_ok=True)
            self.policy.write_text(kind.policy)
            environment["SLUICE_POLICY_FILE"] = str(self.policy)
        self.mesh = LocalMesh.on_free_ports(state, environment, **kind.settings)
        if self.redis_proxy and self.influx_proxy:
            self.redis_proxy.upstream = self.mesh.settings.redis_port
            self.influx_proxy.upstream = self.mesh.settings.influx_port

    def start(self) -> None:
        """Start everything and wait until it is healthy."""
        try:
            self.mesh.start()
        except BaseException:
            self.stop()
            raise
        Places(
            self.mesh.redis_url,
            self.mesh.settings.redis_partitions,
            self.mesh.influx_url,
            self.mesh.influx_headers(),
            self.mesh.settings.reports_dir,
            self.mesh.supervisor.logs,
        ).write(self.state)

    def stop(self) -> None:
        """Stop everything."""
        self.mesh.stop()
        for proxy in (self.redis_proxy, self.influx_proxy):
            if proxy is not None:
                proxy.close()

    def set_clock(self, room: str, offset: float) -> None:
        """Set the wall clock of a room's processes off by so many seconds."""
        path = self.state / f"{room}.clock"
        self.state.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(struct.pack("d", offset))

    @property
    def ingest(self) -> list[str]:
        """Names of the ingest processes."""
        return self._names("ingest_service", self.mesh.settings.ingest_processes)

    @property
    def workers(self) -> list[str]:
        """Names of the workers."""
        return self._names("worker", self.mesh.settings.worker_processes)

    def _names(self, room: str, count: int) -> list[str]:
        return [room] if count == 1 else [f"{room}-{number + 1}" for number in range(count)]
