"""What the local mesh starts, and with which configuration."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import parts, probes, programs
from deploy.local.mesh import LocalMesh
from deploy.local.programs import Program
from deploy.local.settings import LocalSettings


@pytest.fixture(autouse=True)
def _parts_that_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "envoy", lambda: Path("/parts/envoy"))
    monkeypatch.setattr(parts, "redis_server", lambda: Path("/parts/redis-server"))
    monkeypatch.setattr(parts, "go_program", lambda program, _: Path("/parts", program.name))


def described(tmp_path: Path, **changes: Any) -> dict[str, Program]:
    settings = LocalSettings(state=tmp_path / "the state", **changes)
    return {each.name: each for each in programs.all_programs(settings, print)}


def lines(program: Program) -> list[str]:
    (text,) = program.files.values()
    return text.splitlines()


def test_the_gateway_stops_first_and_the_stores_last(tmp_path: Path) -> None:
    every = described(tmp_path).values()
    assert [each.name for each in sorted(every, key=lambda each: -each.rank)] == [
        "api_gateway",
        "ingest_service",
        "alert_service",
        "worker",
        "influxdb",
        "redis",
    ]


def test_redis_keeps_everything_and_logs_nothing(tmp_path: Path) -> None:
    conf = lines(described(tmp_path)["redis"])
    for line in (
        "bind 127.0.0.1",
        "port 6379",
        "protected-mode yes",
        f'dir "{tmp_path}/the state/redis"',
        "appendonly yes",
        "appendfsync always",
        "maxmemory 1gb",
        "maxmemory-policy noeviction",
        "slowlog-max-len 0",
    ):
        assert line in conf


def test_redis_durability_and_memory_are_settings(tmp_path: Path) -> None:
    conf = lines(described(tmp_path, redis_fsync="everysec", redis_memory="256mb")["redis"])
    assert "appendfsync everysec" in conf
    assert "maxmemory 256mb" in conf


def test_influxdb_is_on_loopback_and_logs_no_query(tmp_path: Path) -> None:
    conf = lines(described(tmp_path, influx_port=8087, influx_rpc_port=8089)["influxdb"])
    for line in (
        "reporting-disabled = true",
        'bind-address = "127.0.0.1:8087"',
        'bind-address = "127.0.0.1:8089"',
        "query-log-enabled = false",
        "log-enabled = false",
        "auth-enabled = true",
        "pprof-auth-enabled = true",
    ):
        assert line in conf


def test_named_servers_are_used_and_not_started(tmp_path: Path) -> None:
    far: dict[str, Any] = {"redis_url": "redis://far:6379/0", "influx_url": "http://far:8086"}
    every = described(tmp_path, **far)
    assert not {"redis", "influxdb"} & set(every)
    assert every["worker"].environment["SLUICE_REDIS_URL"] == far["redis_url"]
    assert every["worker"].environment["SLUICE_INFLUX_URL"] == far["influx_url"]
    assert every["ingest_service"].environment["SLUICE_REDIS_URL"] == far["redis_url"]
    settings = LocalSettings(**far)
    assert set(probes.named_servers(settings)) == {"SLUICE_REDIS_URL", "SLUICE_INFLUX_URL"}


def test_several_processes_have_ports_of_their_own_and_are_all_behind_the_gateway(
    tmp_path: Path,
) -> None:
    every = described(tmp_path, ingest_processes=2, worker_processes=2)
    listening = [
        every[name].environment[variable]
        for name in ("ingest_service-1", "ingest_service-2", "worker-1", "worker-2")
        for variable in ("SLUICE_LISTEN", "SLUICE_METRICS_LISTEN")
    ]
    assert len(set(listening)) == 8
    (config,) = every["api_gateway"].files.values()
    for cluster in json.loads(config)["static_resources"]["clusters"]:
        if cluster["name"] == "ingest_service":
            (group,) = cluster["load_assignment"]["endpoints"]
            assert len(group["lb_endpoints"]) == 2


class Well(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """A process that is well, but for some of its health services."""

    def __init__(self, ailing: set[str]) -> None:
        self.ailing = ailing

    def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        state = health_pb2.HealthCheckResponse
        is_well = request.service not in self.ailing
        return state(status=state.SERVING if is_well else state.NOT_SERVING)


def test_a_healthy_program_says_what_else_is_amiss(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    well = Well({"sluice.policy", "reports_room"})
    health_pb2_grpc.add_HealthServicer_to_server(well, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ports: Any = {"ingest_grpc_port": port, "alert_grpc_port": port}
    mesh = LocalMesh(LocalSettings(state=tmp_path, **ports))
    said = {name: remark for name, remark in mesh.remarks().items() if remark}
    assert said == {
        "ingest_service": "the policy file is not taken",
        "alert_service": "the room for reports runs out",
    }
    well.ailing.clear()
    assert not any(mesh.remarks().values())
    server.stop(None).wait()
    # Who does not answer says nothing.
    assert not any(mesh.remarks().values())


def test_added_environment_reaches_every_python_process_and_no_other(tmp_path: Path) -> None:
    settings = LocalSettings(state=tmp_path)
    every = programs.all_programs(settings, print, {"SLUICE_LOG_LEVEL": "debug"})
    told = {each.name for each in every if each.environment.get("SLUICE_LOG_LEVEL") == "debug"}
    assert told == {"ingest_service", "alert_service", "worker"}


def test_a_cluster_has_a_replica_for_each_primary_and_one_program_that_keeps_it(
    tmp_path: Path,
) -> None:
    every = described(tmp_path, redis_primaries=3, redis_partitions=8, redis_confirming_replicas=1)
    redis = [name for name in every if name.startswith("redis")]
    assert redis == [*(f"redis-{number}" for number in range(1, 7)), "redis-cluster"]
    assert every["redis-cluster"].command[3:] == [
        "3",
        *(f"{6379 + number}:{16379 + number}" for number in range(6)),
    ]
    for name in ("worker", "ingest_service"):
        environment = every[name].environment
        assert environment["SLUICE_REDIS_URL"] == "redis+cluster://" + ",".join(
            f"127.0.0.1:{6379 + number}" for number in range(6)
        )
        assert environment["SLUICE_REDIS_PARTITIONS"] == "8"
        assert environment["SLUICE_REDIS_CONFIRMING_REPLICAS"] == "1"


def test_a_node_of_a_cluster_keeps_everything_and_stops_only_its_share(tmp_path: Path) -> None:
    every = described(tmp_path, redis_primaries=3, redis_confirming_replicas=1)
    conf = lines(every["redis-2"])
    # Of an option that is given twice, the last one counts.
    assert [line for line in conf if line.startswith("port ")][-1] == "port 6380"
    for line in (
        "bind 127.0.0.1",
        f'dir "{tmp_path}/the state/redis-cluster/redis-2"',
        "appendonly yes",
        "appendfsync always",
        "cluster-enabled yes",
        "cluster-port 16380",
        "cluster-node-timeout 2000",
        "cluster-require-full-coverage no",
        "min-replicas-to-write 1",
    ):
        assert line in conf
    # A comment is a line of its own: behind a value it would be part of it.
    assert not [line for line in conf if "#" in line and not line.startswith("#")]
