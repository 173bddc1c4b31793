"""The programs of the local mesh: how each is configured, started and probed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from deploy.local import admin, gateway, parts, probes, redis_cluster
from deploy.local.bootstrap import ROOT
from deploy.local.credentials import Role, credential_file, credentials_folder
from deploy.local.influxd import DATABASE
from deploy.local.probes import Probe
from deploy.local.settings import HOST, LocalSettings

REDIS_NODES = "redis-cluster"
"""The folder, under that of the mesh, in which each node of the cluster has one."""

INFLUX_CONF = """\
reporting-disabled = true
bind-address = "{host}:{rpc_port}"

[logging]
level = "warn"

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
auth-enabled = {auth}
# With both, all of /debug, including the counters, is only for the admin.
pprof-enabled = {auth}
pprof-auth-enabled = true
"""


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program. Started in the order of `rank`, stopped in the reverse.

    `files` (texts by path) and `folders` (for its data) must exist before it starts.
    """

    name: str
    rank: int
    command: list[str]
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    remark: Callable[[], str] = str
    """Returns a remark about a healthy program, mostly an empty one. Raises grpc.RpcError or
    redis.RedisError when it does not answer."""


def all_programs(
    settings: LocalSettings,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> list[Program]:
    """Return every program of the mesh that `settings` describe.

    `say` is called for each part that has to be built; `environment` is added to that of every
    Python process. Raises parts.PartMissing.
    """
    extra = dict(environment or {})
    return [
        *redis_programs(settings),
        *_influxdb(settings, say),
        *_workers(settings, extra),
        _alert_service(settings, extra),
        *_ingest_services(settings, extra),
        _gateway(settings),
    ]


def redis_url(settings: LocalSettings) -> str:
    """Return the URL of Redis: of what is started here, or the one that the settings name."""
    if settings.redis_url:
        return settings.redis_url
    if nodes := redis_cluster.nodes(settings):
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes)
    return f"redis://{HOST}:{settings.redis_port}/0"


def redis_environment(settings: LocalSettings) -> dict[str, str]:
    """Return the variables with which a process finds the jobs in Redis."""
    partitions = settings.redis_partitions
    return {
        "SLUICE_REDIS_URL": redis_url(settings),
        **({} if partitions is None else {"SLUICE_REDIS_PARTITIONS": str(partitions)}),
        "SLUICE_REDIS_CONFIRMING_REPLICAS": str(settings.redis_confirming_replicas),
    }


def influx_url(settings: LocalSettings) -> str:
    """Return the URL of InfluxDB: the one started here, or the one that the settings name."""
    return settings.influx_url or f"http://{HOST}:{settings.influx_port}"


def influx_environment(settings: LocalSettings, role: Role) -> dict[str, str]:
    """Return the variables with which a process uses InfluxDB; secrets stay in their file."""
    path = credential_file(settings, role)
    return {
        "SLUICE_INFLUX_URL": influx_url(settings),
        "SLUICE_INFLUX_ORG": settings.influx_org if settings.influx_url else "",
        "SLUICE_INFLUX_BUCKET": settings.influx_bucket if settings.influx_url else DATABASE,
        "SLUICE_INFLUX_TOKEN": "",
        "SLUICE_INFLUX_TOKEN_FILE": str(path) if path.exists() else "",
    }


def redis_conf(settings: LocalSettings, folder: Path) -> str:
    """Return the configuration of a Redis whose data lies in `folder`."""
    # Of an option that is given twice, the last one counts.
    return (ROOT / "deploy" / "redis.conf").read_text() + (
        f"bind {HOST}\n"
        f"port {settings.redis_port}\n"
        "protected-mode yes\n"
        f'dir "{folder}"\n'
        f"appendfsync {settings.redis_fsync}\n"
        f"maxmemory {settings.redis_memory}\n"
    )


def redis_node_conf(settings: LocalSettings, folder: Path, node: redis_cluster.Node) -> str:
    """Return the configuration of a node of the cluster whose data lies in `folder`."""
    return redis_conf(settings, folder) + (
        f"port {node.port}\n"
        "cluster-enabled yes\n"
        f"cluster-port {node.bus_port}\n"
        "# Milliseconds after which a silent primary may be replaced.\n"
        "cluster-node-timeout 2000\n"
        "# A lost primary stops its own share only.\n"
        "cluster-require-full-coverage no\n"
        f"min-replicas-to-write {settings.redis_confirming_replicas}\n"
        "# How often a confirmation that is late is looked for again, in 1 s.\n"
        f"hz {100 if settings.redis_confirming_replicas else 10}\n"
        "# A replica that is back is needed at once.\n"
        "repl-diskless-sync-delay 0\n"
    )


def influx_conf(settings: LocalSettings, folder: Path, has_users: bool = True) -> str:
    """Return the configuration of an InfluxDB whose data lies in `folder`.

    One that has no users lets everybody in.
    """
    return INFLUX_CONF.format(
        host=HOST,
        port=settings.influx_port,
        rpc_port=settings.influx_rpc_port,
        folder=folder,
        auth=str(has_users).lower(),
    )


def redis_programs(settings: LocalSettings) -> list[Program]:
    """Return the one Redis, or the nodes of the cluster and what keeps them one; none if named.

    Raises parts.PartMissing.
    """
    if settings.redis_url:
        return []
    if nodes := redis_cluster.nodes(settings):
        return [
            *(redis_node(settings, f"redis-{n + 1}", node) for n, node in enumerate(nodes)),
            _redis_cluster(settings, nodes),
        ]
    folder = settings.state / "redis"
    path = settings.state / "config" / "redis.conf"
    return [
        Program(
            "redis",
            10,
            [str(parts.redis_server()), str(path)],
            partial(probes.check_redis, redis_url(settings)),
            files={path: redis_conf(settings, folder)},
            folders=(folder,),
        )
    ]


def redis_node(settings: LocalSettings, name: str, node: redis_cluster.Node) -> Program:
    """Return one node of a cluster. Raises parts.PartMissing."""
    folder = settings.state / REDIS_NODES / name
    path = settings.state / "config" / f"{name}.conf"
    start = [sys.executable, "-m", "deploy.local.redis_node"]
    return Program(
        name,
        10,
        [*start, str(parts.redis_server()), str(path), str(folder)],
        partial(probes.check_redis, f"redis://{HOST}:{node.port}/0"),
        files={path: redis_node_conf(settings, folder, node)},
        folders=(folder,),
        remark=partial(redis_cluster.describe, node.port),
    )


def _redis_cluster(settings: LocalSettings, nodes: Sequence[redis_cluster.Node]) -> Program:
    addresses = [f"{node.port}:{node.bus_port}" for node in nodes]
    start = [sys.executable, "-m", "deploy.local.redis_cluster"]
    return Program(
        "redis-cluster",
        15,
        [*start, str(settings.redis_primaries), *addresses],
        partial(redis_cluster.check, nodes),
    )


def _influxdb(settings: LocalSettings, say: Callable[[str], None]) -> list[Program]:
    if settings.influx_url:
        return []
    folder = settings.state / "influxdb"
    path = settings.state / "config" / "influxdb.conf"
    influxd = str(parts.go_program(parts.INFLUXD, say))
    credentials = str(credentials_folder(settings))
    start = [sys.executable, "-m", "deploy.local.influxd"]
    return [
        Program(
            "influxdb",
            20,
            [*start, influxd, str(path), str(folder), credentials],
            partial(probes.check_http, f"{influx_url(settings)}/ping"),
            files={path: influx_conf(settings, folder)},
            folders=(folder,),
        )
    ]


def _workers(settings: LocalSettings, extra: Mapping[str, str]) -> list[Program]:
    return [
        _python(
            "worker",
            name,
            30,
            settings.worker_grpc_port + number,
            settings.worker_metrics_port + number,
            {
                **redis_environment(settings),
                **influx_environment(settings, "writer"),
                "SLUICE_ALERT_TARGET": f"{HOST}:{settings.alert_grpc_port}",
                **extra,
            },
        )
        for number, name in enumerate(_names("worker", settings.worker_processes))
    ]


def _alert_service(settings: LocalSettings, extra: Mapping[str, str]) -> Program:
    return _python(
        "alert_service",
        "alert_service",
        40,
        settings.alert_grpc_port,
        settings.alert_metrics_port,
        {"SLUICE_REPORTS_DIR": str(settings.reports_dir), **extra},
        {"reports_room": "the room for reports runs out"},
    )


def _ingest_services(settings: LocalSettings, extra: Mapping[str, str]) -> list[Program]:
    return [
        _python(
            "ingest_service",
            name,
            50,
            settings.ingest_grpc_port + number,
            settings.ingest_metrics_port + number,
            {
                **redis_environment(settings),
                "SLUICE_ALERT_TARGET": f"{HOST}:{settings.alert_grpc_port}",
                **extra,
            },
            {"sluice.policy": "the policy file is not taken"},
        )
        for number, name in enumerate(_names("ingest_service", settings.ingest_processes))
    ]


def _names(room: str, count: int) -> list[str]:
    return [room] if count == 1 else [f"{room}-{number + 1}" for number in range(count)]


def _python(
    room: str,
    name: str,
    rank: int,
    port: int,
    metrics_port: int,
    environment: dict[str, str],
    remarks: Mapping[str, str] | None = None,
) -> Program:
    """Return a process of ours; `remarks` say what it means when a health service of it is bad."""

    def remark() -> str:
        return "; ".join(
            [
                each
                for service, each in (remarks or {}).items()
                if not probes.is_serving(port, service)
            ]
        )

    own = {
        "SLUICE_LISTEN": f"{HOST}:{port}",
        "SLUICE_METRICS_LISTEN": f"{HOST}:{metrics_port}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}",
    }
    return Program(
        name,
        rank,
        [sys.executable, "-m", room],
        partial(probes.check_grpc, port),
        own | environment,
        remark=remark,
    )


def _gateway(settings: LocalSettings) -> Program:
    template = yaml.safe_load((ROOT / "api_gateway" / "envoy.yaml").read_text())
    first = settings.ingest_grpc_port
    ingest = range(first, first + settings.ingest_processes)
    admin_socket = admin.socket_path(settings.state)
    rendered = gateway.render(
        template,
        admin=admin_socket,
        hosts=[name for name in settings.hosts.split(",") if name],
        listeners={
            "gateway": settings.gateway_port,
            "alert_door": settings.alert_port,
            "admin": settings.admin_port,
        },
        clusters={
            "ingest_service": ingest,
            "ingest_refusals": ingest,
            "alert_service": [settings.alert_grpc_port],
        },
        descriptors=str(ROOT / "protos" / "gen" / "sluice.binpb"),
    )
    path = settings.state / "config" / "envoy.json"
    command = [
        str(parts.envoy()),
        *("-c", str(path)),
        *("--concurrency", str(settings.gateway_threads)),
        *("--log-level", "warning"),
        "--disable-hot-restart",
    ]
    probe = partial(probes.check_http, f"http://{HOST}:{settings.admin_port}/ready")
    return Program(
        "api_gateway",
        60,
        command,
        probe,
        files={path: json.dumps(rendered, indent=1)},
        folders=(admin_socket.parent,),
    )
