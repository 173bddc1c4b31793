"""The programs of the local mesh: how each is started and how it is known to be well."""

from __future__ import annotations

import json
import shlex
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import redis
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import gateway, parts
from deploy.local.bootstrap import ROOT
from deploy.local.settings import HOST, LocalSettings

PROBE_SECONDS = 2.0

Probe = Callable[[], None]
"""Returns when the program is well, raises when it is not."""

REDIS_CONF = """\
bind {host}
port {port}
protected-mode yes
dir {folder}
appendonly yes
appendfsync {fsync}
save ""
maxmemory {memory}
maxmemory-policy noeviction
# A slow command would be kept with its arguments, and those hold payloads.
slowlog-max-len 0
"""

INFLUX_CONF = """\
reporting-disabled = true
bind-address = "{host}:{rpc_port}"

[meta]
dir = "{folder}/meta"
logging-enabled = false

[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
# Queries and requests hold payloads.
query-log-enabled = false

[coordinator]
log-queries-after = "0s"

[monitor]
store-enabled = false

[http]
bind-address = "{host}:{port}"
log-enabled = false
pprof-enabled = false
flux-enabled = true
"""


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program. Started in the order of `rank`, stopped in the reverse."""

    name: str
    rank: int
    command: list[str]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)


def prepare(
    settings: LocalSettings,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> list[Program]:
    """Write every program's configuration into the state directory and return the programs.

    `say` is told of parts that have to be built; `environment` is added to that of every Python
    process. Raises parts.PartMissing.
    """
    config = settings.state / "config"
    config.mkdir(parents=True, exist_ok=True, mode=0o700)
    extra = dict(environment or {})
    return [
        *_redis(settings, config),
        *_influxdb(settings, config, say),
        *_workers(settings, extra),
        _alert_service(settings, extra),
        *_ingest_services(settings, extra),
        _gateway(settings, config),
    ]


def redis_url(settings: LocalSettings) -> str:
    """Return where Redis is: the one started here, or the one that was named."""
    return settings.redis_url or f"redis://{HOST}:{settings.redis_port}/0"


def influx_url(settings: LocalSettings) -> str:
    """Return where InfluxDB is: the one started here, or the one that was named."""
    return settings.influx_url or f"http://{HOST}:{settings.influx_port}"


def _redis(settings: LocalSettings, config: Path) -> list[Program]:
    if settings.redis_url:
        return []
    folder = _folder(settings, "redis")
    path = config / "redis.conf"
    path.write_text(
        REDIS_CONF.format(
            host=HOST,
            port=settings.redis_port,
            folder=folder,
            fsync=settings.redis_fsync,
            memory=settings.redis_memory,
        )
    )

    def probe() -> None:
        with redis.Redis(host=HOST, port=settings.redis_port, socket_timeout=PROBE_SECONDS) as one:
            one.ping()

    return [Program("redis", 10, [str(parts.redis_server()), str(path)], probe)]


def _influxdb(settings: LocalSettings, config: Path, say: Callable[[str], None]) -> list[Program]:
    if settings.influx_url:
        return []
    path = config / "influxdb.conf"
    path.write_text(
        INFLUX_CONF.format(
            host=HOST,
            port=settings.influx_port,
            rpc_port=settings.influx_rpc_port,
            folder=_folder(settings, "influxdb"),
        )
    )
    influxd = parts.go_program(parts.INFLUXD, say)
    probe = _http_probe(f"http://{HOST}:{settings.influx_port}/ping")
    return [Program("influxdb", 20, [str(influxd), "-config", str(path)], probe)]


def _workers(settings: LocalSettings, extra: Mapping[str, str]) -> list[Program]:
    return [
        _python(
            "worker",
            "worker" if settings.worker_processes == 1 else f"worker-{number + 1}",
            30,
            settings.worker_grpc_port + number,
            settings.worker_metrics_port + number,
            {
                "SLUICE_REDIS_URL": redis_url(settings),
                "SLUICE_INFLUX_URL": influx_url(settings),
                "SLUICE_ALERT_TARGET": f"{HOST}:{settings.alert_grpc_port}",
                **extra,
            },
        )
        for number in range(settings.worker_processes)
    ]


def _alert_service(settings: LocalSettings, extra: Mapping[str, str]) -> Program:
    return _python(
        "alert_service",
        "alert_service",
        40,
        settings.alert_grpc_port,
        settings.alert_metrics_port,
        {"SLUICE_REPORTS_DIR": str(settings.reports_dir), **extra},
    )


def _ingest_services(settings: LocalSettings, extra: Mapping[str, str]) -> list[Program]:
    return [
        _python(
            "ingest_service",
            "ingest_service" if settings.ingest_processes == 1 else f"ingest_service-{number + 1}",
            50,
            settings.ingest_grpc_port + number,
            settings.ingest_metrics_port + number,
            {
                "SLUICE_REDIS_URL": redis_url(settings),
                "SLUICE_ALERT_TARGET": f"{HOST}:{settings.alert_grpc_port}",
                **extra,
            },
        )
        for number in range(settings.ingest_processes)
    ]


def _python(
    room: str,
    name: str,
    rank: int,
    port: int,
    metrics_port: int,
    environment: dict[str, str],
) -> Program:
    own = {
        "SLUICE_LISTEN": f"{HOST}:{port}",
        "SLUICE_METRICS_LISTEN": f"{HOST}:{metrics_port}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}",
    }
    return Program(name, rank, [sys.executable, "-m", room], _grpc_probe(port), own | environment)


def _gateway(settings: LocalSettings, config: Path) -> Program:
    template = yaml.safe_load((ROOT / "api_gateway" / "envoy.yaml").read_text())
    first = settings.ingest_grpc_port
    rendered = gateway.render(
        template,
        admin=settings.admin_port,
        listeners={"gateway": settings.gateway_port, "alert_door": settings.alert_port},
        clusters={
            "ingest_service": range(first, first + settings.ingest_processes),
            "alert_service": [settings.alert_grpc_port],
        },
        descriptors=str(ROOT / "protos" / "gen" / "sluice.binpb"),
    )
    path = config / "envoy.json"
    path.write_text(json.dumps(rendered, indent=1))
    command = [
        str(parts.envoy()),
        *("-c", str(path)),
        *("--concurrency", str(settings.gateway_threads)),
        *("--log-level", "warning"),
        "--disable-hot-restart",
    ]
    probe = _http_probe(f"http://{HOST}:{settings.admin_port}/ready")
    return Program("api_gateway", 60, command, probe)


def _folder(settings: LocalSettings, name: str) -> Path:
    folder = settings.state / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _http_probe(url: str) -> Probe:
    def probe() -> None:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):
            pass

    return probe


def _grpc_probe(port: int) -> Probe:
    def probe() -> None:
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ConnectionError("not serving")

    return probe


def command_line(program: Program, stamp: Path) -> str:
    """Return the command by which the supervisor starts `program`, on its leash."""
    pairs = [f"{name}={value}" for name, value in program.environment.items()]
    leash = [sys.executable, "-S", str(Path(__file__).with_name("leash.py")), str(stamp)]
    return shlex.join([*leash, *pairs, "--", *program.command])
