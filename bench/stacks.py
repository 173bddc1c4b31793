"""The stacks that are measured, each started on free ports with data of its own."""

from __future__ import annotations

import abc
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
import yaml

from bench import environment
from bench.usage import Usage, usage_of
from deploy.local import admin, gateway, parts, programs
from deploy.local.bootstrap import ROOT
from deploy.local.mesh import LocalMesh
from deploy.local.programs import Program
from deploy.local.settings import HOST, LocalSettings
from deploy.local.supervision import Supervisor
from job_store.counts import Counts, CountsReader
from job_store.keys import INTERACTIONS
from job_store.partitions import Partitions
from job_store.settings import StoreSettings
from worker.settings import WorkerSettings

START_SECONDS = 60.0
LOOK_SECONDS = 0.1
COUNT_SECONDS = 300.0
"""How long InfluxDB may count millions of rows."""
WORKER_THREADS = WorkerSettings.model_fields["worker_threads"].default
"""Writes that one worker of the mesh makes at a time; Celery gets as many processes."""


class Stack(abc.ABC):
    """Something that takes submissions."""

    name: str
    supervisor: Supervisor
    address: str
    """Where HTTP and gRPC are taken, `host:port`."""

    @abc.abstractmethod
    def start(self) -> None:
        """Start every program and wait until all answer."""

    def stop(self) -> None:
        """Stop every program."""
        self.supervisor.stop()

    def usage(self) -> Usage:
        """Return what the programs have cost so far."""
        return usage_of(self.pids())

    def pids(self) -> dict[str, int]:
        """Return the process ids of the programs that run."""
        known = {name: each["pid"] for name, each in self.supervisor.programs().items()}
        return {name: pid for name, pid in known.items() if pid}

    def written(self) -> int:
        """Return how many interactions have reached the database."""
        return 0

    def backlog(self) -> int:
        """Return how many accepted interactions have not reached it."""
        return 0

    def drain(self, seconds: float) -> bool:
        """Wait until the backlog is gone. Returns whether it is."""
        deadline = time.monotonic() + seconds
        while self.backlog():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def workers(self) -> list[str]:
        """Return the names of the programs that write what was accepted."""
        return [
            name
            for name in self.supervisor.programs()
            if name.split("-")[0] in ("worker", "celery")
        ]

    def stop_workers(self) -> None:
        """Stop writing; what is accepted waits."""
        for name in self.workers():
            self.supervisor.stop_program(name)

    def start_workers(self) -> None:
        """Write again."""
        for name in self.workers():
            self.supervisor.start_program(name)


class Sluice(Stack):
    """The local mesh as `make up` starts it."""

    name = "sluice"

    def __init__(self, state: Path, settings: Mapping[str, Any]) -> None:
        self.mesh = LocalMesh.on_free_ports(state / "sluice", **settings)
        self.supervisor = self.mesh.supervisor
        self.address = self.mesh.gateway
        chosen = self.mesh.settings
        self.partitions = Partitions.of(
            StoreSettings(redis_url=self.mesh.redis_url, redis_partitions=chosen.redis_partitions)
        )
        self.redis = self.partitions.all[0].client

    def start(self) -> None:
        """Start everything and wait until it serves."""
        self.mesh.start()

    def written(self) -> int:
        """Return how many interactions are settled: written or failed."""
        counts = self._counts()
        return counts.written + counts.failed

    def accepted(self) -> int:
        """Return how many interactions are durable or were."""
        return self._counts().accepted

    def backlog(self) -> int:
        """Return how many accepted interactions are not settled."""
        counts = self._counts()
        return counts.accepted - counts.written - counts.failed

    def jobs(self) -> int:
        """Return how many jobs wait or are being written."""
        return sum(
            each.client.hlen(each.keys.messages(INTERACTIONS)) for each in self.partitions.all
        )

    def rows(self) -> int:
        """Return how many rows the database holds."""
        return _rows(self.mesh.influx_url, self.mesh.influx_headers())

    def _counts(self) -> Counts:
        return Counts.sum(
            [CountsReader(each.client, each.keys).counts() for each in self.partitions.all]
        )


class Noop(Stack):
    """The service that does nothing, behind the gateway's own configuration."""

    name = "noop"

    def __init__(self, state: Path, settings: Mapping[str, Any]) -> None:
        # A mesh is asked for free ports and configuration; it is not started.
        spare = LocalMesh.on_free_ports(state / "noop", **settings).settings
        self._settings = spare
        self.supervisor = Supervisor(spare.state)
        self.address = f"{HOST}:{spare.gateway_port}"
        self.service_address = f"{HOST}:{spare.ingest_grpc_port}"

    def start(self) -> None:
        """Start everything and wait until it serves."""
        spare = self._settings
        config = _config_folder(spare)
        template = yaml.safe_load((ROOT / "api_gateway" / "envoy.yaml").read_text())
        admin_socket = admin.socket_path(spare.state)
        admin_socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        rendered = gateway.render(
            template,
            admin=admin_socket,
            hosts=[],
            listeners={
                "gateway": spare.gateway_port,
                "alert_door": spare.alert_port,
                "admin": spare.admin_port,
            },
            clusters={
                "ingest_service": [spare.ingest_grpc_port],
                "ingest_refusals": [spare.ingest_grpc_port],
                "alert_service": [spare.ingest_grpc_port],
            },
            descriptors=str(ROOT / "protos" / "gen" / "sluice.binpb"),
        )
        path = config / "envoy.json"
        path.write_text(json.dumps(rendered))
        service = Program(
            "ingest_service",
            10,
            [str(ROOT / ".venv/bin/python"), "-m", "bench.noop", self.service_address],
            _no_probe,
            {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}"},
        )
        envoy = Program(
            "api_gateway",
            20,
            [
                str(parts.envoy()),
                *("-c", str(path), "--concurrency", str(spare.gateway_threads)),
                *("--log-level", "warning", "--disable-hot-restart"),
            ],
            _no_probe,
        )
        self.supervisor.start([service, envoy])
        _await_answer(f"http://{self.address}/status/none")


class NoopDirect(Stack):
    """The same service, called past the gateway."""

    name = "noop direct"

    def __init__(self, noop: Noop) -> None:
        self.supervisor = noop.supervisor
        self.address = noop.service_address

    def start(self) -> None:
        """Do nothing: the stack behind the gateway starts it."""

    def stop(self) -> None:
        """Do nothing: the stack behind the gateway stops it."""


class Reference(Stack):
    """FastAPI, Celery, Redis and InfluxDB, with as many processes as the mesh has."""

    name = "reference"

    def __init__(self, state: Path, settings: Mapping[str, Any]) -> None:
        spare = LocalMesh.on_free_ports(state / "reference", **settings).settings
        self._settings = spare
        self._concurrency = spare.worker_processes * WORKER_THREADS
        self.supervisor = Supervisor(spare.state)
        self.address = f"{HOST}:{spare.gateway_port}"
        self._influx_url = f"http://{HOST}:{spare.influx_port}"
        self.redis = redis.Redis(host=HOST, port=spare.redis_port)

    def start(self) -> None:
        """Start everything and wait until it serves."""
        spare = self._settings
        config = _config_folder(spare)
        redis_conf = config / "redis.conf"
        redis_conf.write_text(programs.redis_conf(spare, _folder(spare, "redis")))
        influx_conf = config / "influxdb.conf"
        influx_conf.write_text(
            # As its users have it.
            programs.influx_conf(spare, _folder(spare, "influxdb"), has_users=False)
        )
        influxd = str(parts.go_program(parts.INFLUXD, print))
        stores = [
            Program("redis", 10, [str(parts.redis_server()), str(redis_conf)], _no_probe),
            Program("influxdb", 20, [influxd, "-config", str(influx_conf)], _no_probe),
        ]
        python = str(environment.reference_python())
        variables = {
            "PYTHONPATH": str(environment.REFERENCE),
            "REFERENCE_REDIS_URL": f"redis://{HOST}:{spare.redis_port}/0",
            "REFERENCE_INFLUX_URL": self._influx_url,
        }
        worker = [
            *(python, "-m", "celery", "--app", "tasks", "worker", "--loglevel", "WARNING"),
            *("--concurrency", str(self._concurrency)),
        ]
        web = [
            *(python, "-m", "uvicorn", "app:app", "--host", HOST),
            *("--port", str(spare.gateway_port), "--workers", str(spare.ingest_processes)),
            # The access log of each request is switched off here, and on in the mesh.
            *("--no-access-log", "--log-level", "warning"),
        ]
        own = [
            Program("celery", 30, worker, _no_probe, variables),
            Program("uvicorn", 40, web, _no_probe, variables),
        ]
        self.supervisor.start([*stores, *own])
        _await_answer(f"{self._influx_url}/ping")
        query = urllib.parse.urlencode({"q": "CREATE DATABASE logs"}).encode()
        urllib.request.urlopen(f"{self._influx_url}/query", query, timeout=10).close()
        _await_answer(f"http://{self.address}/openapi.json")

    def written(self) -> int:
        """Return how many interactions are settled: written or failed."""
        return self.rows()

    def rows(self) -> int:
        """Return how many rows the database holds."""
        return _rows(self._influx_url, {})

    def backlog(self) -> int:
        """Return how many accepted interactions are not settled."""
        # Celery's Redis transport: the queue, and what a worker has fetched.
        return int(self.redis.llen("celery")) + int(self.redis.hlen("unacked"))

    def jobs(self) -> int:
        """Return how many jobs wait: each holds one interaction."""
        return self.backlog()

    def discard(self) -> None:
        """Throw the backlog away."""
        self.redis.delete("celery")


def _no_probe() -> None:
    """Stands for a health check: whether these programs are up is asked by what they serve."""


def _await_answer(url: str) -> None:
    """Wait until `url` answers anything below 500. Raises RuntimeError."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} did not answer within {START_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _rows(influx_url: str, headers: dict[str, str]) -> int:
    query = urllib.parse.urlencode({"db": "logs", "q": "SELECT COUNT(task_id) FROM interactions"})
    request = urllib.request.Request(f"{influx_url}/query?{query}", headers=headers)
    with urllib.request.urlopen(request, timeout=COUNT_SECONDS) as answer:
        (result,) = json.load(answer)["results"]
    return sum(series["values"][0][1] for series in result.get("series", []))


def _config_folder(settings: LocalSettings) -> Path:
    return _folder(settings, "config")


def _folder(settings: LocalSettings, name: str) -> Path:
    folder = settings.state / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
