"""Workers over several partitions: on one Redis, and on the primaries of a real cluster."""

from __future__ import annotations

import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from deploy.local import parts
from job_store.admission import Admission
from job_store.dead_letters import DeadLetters
from job_store.errors import NotDurable
from job_store.keys import INTERACTIONS, PARTITIONS
from job_store.partitions import Partition, Partitions
from job_store.queues import StoredQueue
from job_store.replication import NotConfirmed
from job_store.settings import StoreSettings
from job_store.store import Entry, JobStore
from sluice.job.v1.job_pb2 import JOB_STATE_SUCCEEDED, LogInteractions
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_UNSPECIFIED, Verdict
from tests.integration.test_worker import Mesh, Worker
from tests.kit.processes import Process, free_port
from tests.kit.redis_cluster import RedisCluster
from tests.kit.servers import Redis
from tests.kit.waiting import eventually
from worker import dead_letters
from worker.reconciliation.__main__ import BALANCED, UNKNOWN
from worker.reconciliation.__main__ import main as audit

SLOTS = 16384


def commit(
    partition: Partition, texts: Sequence[str], verdict: Verdict.ValueType = VERDICT_ACCEPTED
) -> str:
    """Store a job as ingest does and return its id."""
    jobs = JobStore(partition, Admission(partition), record_seconds=600, request_seconds=600)
    job = LogInteractions(partition=partition.number)
    for text in texts:
        job.interactions.add(verdict=verdict).data.string_value = text
    (receipt,) = jobs.commit([Entry(job.SerializeToString(), len(texts))])
    return receipt.job_id


def is_done(partition: Partition, job_id: str) -> bool:
    jobs = JobStore(partition, Admission(partition), record_seconds=600, request_seconds=600)
    (record,) = jobs.read([job_id])
    return record is not None and record.state == JOB_STATE_SUCCEEDED


def is_drained(partition: Partition) -> bool:
    client, keys = partition.client, partition.keys
    return not client.exists(keys.messages(INTERACTIONS)) and not client.hlen(keys.open_jobs)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    mesh.redis.start()
    mesh.influx.start()
    yield mesh
    mesh.close()


def test_jobs_of_all_partitions_are_written_settled_and_audited(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"SLUICE_REDIS_URL": mesh.redis.url, "SLUICE_REDIS_PARTITIONS": "3"}
    for name, value in {**settings, "SLUICE_INFLUX_URL": mesh.influx.url}.items():
        monkeypatch.setenv(name, value)
    partitions = Partitions.of(StoreSettings.load()).all
    worker = mesh.worker(**settings)
    worker.start()
    jobs = [(each, commit(each, ["a", "b"])) for _ in range(2) for each in partitions]
    refused = commit(partitions[2], ["c"], VERDICT_UNSPECIFIED)
    for partition, job_id in jobs:
        eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
    rows = {row["task_id"]: row["time"] for row in mesh.influx.rows()}
    assert set(rows) == {f"{job_id}-{index}" for _, job_id in jobs for index in range(2)}
    assert {rows[f"{job_id}-0"] % 1000 for _, job_id in jobs} == {0, 1, 2}
    letters = DeadLetters(partitions[2].client, partitions[2].keys)
    eventually(lambda: [each.job_id for each in letters.find()] == [refused])
    for partition in partitions:
        eventually(lambda each=partition: is_drained(each))  # type: ignore[misc]
    assert dead_letters.main(["list"]) == 0
    assert refused in capsys.readouterr().out
    assert audit([]) == BALANCED, capsys.readouterr().out
    assert "accepted                      13" in capsys.readouterr().out

    def metrics() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.metrics_port}/metrics") as answer:
            return str(answer.read().decode())

    eventually(lambda: 'sluice_dead_letters{queue="interactions"} 1.0' in metrics())
    # A row without its job is found, whichever partition it would lie in.
    partitions[0].client.delete(*partitions[0].client.keys(f"{partitions[0].keys.record_prefix}*"))
    partitions[0].client.hset(partitions[0].keys.counts, "accepted", 3)
    assert audit([]) != BALANCED
    assert worker.stop(signal.SIGTERM) == 0


def test_another_number_of_partitions_is_refused(mesh: Mesh) -> None:
    first = mesh.worker(SLUICE_REDIS_PARTITIONS="3")
    first.start()
    eventually(first.is_serving)
    other = mesh.worker(SLUICE_REDIS_PARTITIONS="4")
    other.start()
    eventually(lambda: other.lines("misconfigured"))
    assert "set it to 3" in other.lines("misconfigured")[0]["advice"]
    assert not other.is_serving()
    assert other.stop(signal.SIGTERM) == 0


def test_audit_and_dead_letters_refuse_another_number_of_partitions(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_REDIS_URL", mesh.redis.url)
    monkeypatch.setenv("SLUICE_INFLUX_URL", mesh.influx.url)
    # Who only looks decides nothing.
    monkeypatch.setenv("SLUICE_REDIS_PARTITIONS", "4")
    assert dead_letters.main(["list"]) == 0
    assert mesh.redis.client.get(PARTITIONS) is None
    Partitions.of(StoreSettings(redis_url=mesh.redis.url, redis_partitions=3)).require_agreement()
    capsys.readouterr()
    for command in ("list", "replay"):
        assert dead_letters.main([command]) == 1
        assert "set it to 3" in capsys.readouterr().out
    assert audit([]) == UNKNOWN
    assert "set it to 3" in capsys.readouterr().err


def test_a_redis_that_knows_no_confirmations_is_told_in_one_line(tmp_path: Path) -> None:
    # As Redis before 7.2, which no package here brings.
    server = Redis(tmp_path / "redis", "--rename-command", "WAITAOF", "")
    server.start()
    settings = StoreSettings(redis_url=server.url)
    (partition,) = Partitions.of(settings).all
    jobs = JobStore(
        partition,
        Admission(partition),
        record_seconds=600,
        request_seconds=600,
        confirming_replicas=1,
    )
    worker = Worker(
        tmp_path / "worker.log",
        server.url,
        "http://127.0.0.1:1",
        SLUICE_REDIS_CONFIRMING_REPLICAS="1",
    )
    advice = "confirming replicas need Redis 7.2 or Valkey"
    try:
        with pytest.raises(NotDurable, match=advice):
            jobs.probe()
        commit(partition, ["a"])
        queue = StoredQueue(partition.client, INTERACTIONS, confirming_replicas=1)
        # It has been fetched, and that was not refused.
        with pytest.raises(NotConfirmed):
            queue.fetch("w", 1, 1)
        worker.start()
        eventually(lambda: any(advice in str(each["reason"]) for each in worker.lines("component")))
        (told,) = worker.lines("misconfigured")
        assert advice in told["advice"]
        assert not worker.is_serving()
        assert "Traceback" not in worker.log.read_text()
        assert worker.stop(signal.SIGTERM) == 0
    finally:
        worker.stop()
        server.process.stop()


class Primaries:
    """A cluster of three primaries without replicas."""

    def __init__(self, directory: Path) -> None:
        self.ports = [free_port() for _ in range(3)]
        self.processes = []
        for port in self.ports:
            home = directory / str(port)
            home.mkdir()
            command = [str(parts.redis_server()), "--port", str(port), "--dir", str(home)]
            command += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
            command += ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"]
            command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
            self.processes.append(Process(command, home / "redis.log"))
        nodes = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"redis+cluster://{nodes}"

    def start(self) -> None:
        for process in self.processes:
            process.start()
        clients = [redis.Redis(port=port, socket_timeout=2) for port in self.ports]
        for number, client in enumerate(clients):
            eventually(client.ping)
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.cluster("addslotsrange", first, last)
        for port, process in zip(self.ports, self.processes, strict=True):
            command = process._command
            bus = command[command.index("--cluster-port") + 1]
            clients[0].cluster("meet", "127.0.0.1", port, bus)
        for client in clients:
            eventually(
                lambda each=client: each.cluster("info")["cluster_state"] == "ok"  # type: ignore[misc]
            )

    def close(self) -> None:
        for process in self.processes:
            process.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Primaries]:
    (tmp_path / "cluster").mkdir()
    cluster = Primaries(tmp_path / "cluster")
    cluster.start()
    yield cluster
    cluster.close()


def test_a_lost_primary_stops_only_its_own_jobs(mesh: Mesh, cluster: Primaries) -> None:
    settings = StoreSettings(redis_url=cluster.url, redis_partitions=6)
    partitions = Partitions.of(settings).all
    worker = cluster_worker(mesh, cluster)
    worker.start()
    for partition in partitions:
        job_id = commit(partition, ["a"])
        eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
    for partition in partitions:
        eventually(lambda each=partition: is_drained(each))  # type: ignore[misc]
    # Nothing is in hand: the worker skips what does not answer.
    cluster.processes[2].stop(signal.SIGKILL)
    for _ in range(3):
        for partition in partitions[:4]:
            job_id = commit(partition, ["b"])
            eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
    eventually(lambda: worker.lines("partition does not answer"))
    eventually(worker.is_serving)
    # Neither does one that is started meanwhile stop or end.
    assert worker.process.is_running
    worker.stop(signal.SIGTERM)
    other = cluster_worker(mesh, cluster)
    other.start()
    for partition in partitions[:4]:
        job_id = commit(partition, ["c"])
        eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
    assert other.process.is_running
    cluster.processes[2].start()
    for partition in partitions[4:]:
        eventually(lambda each=partition: is_drained(each))  # type: ignore[misc]
        job_id = commit(partition, ["d"])
        eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
    assert len(mesh.influx.rows()) == 6 + 12 + 4 + 2
    assert other.process.is_running


def cluster_worker(mesh: Mesh, cluster: Primaries) -> Worker:
    return mesh.worker(SLUICE_REDIS_URL=cluster.url, SLUICE_REDIS_PARTITIONS="6")


def test_what_no_replica_confirms_is_not_written(mesh: Mesh) -> None:
    partition = Partition(mesh.redis.client)
    job_id = commit(partition, ["a"])
    worker = mesh.worker(SLUICE_REDIS_CONFIRMING_REPLICAS="1")
    worker.start()
    eventually(lambda: worker.lines("partition does not answer"))
    assert worker.lines("partition does not answer")[0]["error"] == "NotConfirmed"
    queue = StoredQueue(mesh.redis.client, INTERACTIONS)
    eventually(lambda: queue.waiting() == 1)
    assert not is_done(partition, job_id)
    assert mesh.influx.rows() == []
    # A replica comes, and has it on disk.
    home = mesh.directory / "replica"
    home.mkdir()
    port = free_port()
    command = [str(parts.redis_server()), "--port", str(port), "--dir", str(home)]
    command += ["--replicaof", "127.0.0.1", str(mesh.redis.port)]
    replica = Process([*command, "--appendonly", "yes", "--save", ""], home / "redis.log")
    replica.start()
    try:
        eventually(lambda: is_done(partition, job_id))
        assert len(mesh.influx.rows()) == 1
        began = time.monotonic()
        second = commit(partition, ["b"])
        eventually(lambda: is_done(partition, second))
        assert time.monotonic() - began < 5
    finally:
        replica.stop()
    assert worker.process.is_running


@pytest.fixture
def pairs(tmp_path: Path) -> Iterator[RedisCluster]:
    (tmp_path / "pairs").mkdir()
    cluster = RedisCluster(tmp_path / "pairs")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_a_replica_that_hangs_slows_no_other_partition_and_ends_no_worker(
    mesh: Mesh, pairs: RedisCluster
) -> None:
    settings = StoreSettings(redis_url=pairs.url, redis_partitions=6)
    partitions = Partitions.of(settings).all
    worker = mesh.worker(
        SLUICE_REDIS_URL=pairs.url,
        SLUICE_REDIS_PARTITIONS="6",
        SLUICE_REDIS_CONFIRMING_REPLICAS="1",
    )
    worker.start()
    for partition in partitions:
        job_id = commit(partition, ["a"])
        eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
    primary = pairs.primary_of(partitions[0].keys.open_jobs)
    primaries = {each.number: pairs.primary_of(each.keys.open_jobs) for each in partitions}
    held_up = [each for each in partitions if primaries[each.number] == primary]
    well = [each for each in partitions if primaries[each.number] != primary]
    waits: list[float] = []
    with pairs.paused(pairs.replica_of(primary)):
        # Its lag is noticed after 10 s: until then the primary takes what nobody confirms.
        for partition in held_up:
            commit(partition, ["b"])
        ends = time.monotonic() + 13
        while time.monotonic() < ends:
            began = time.monotonic()
            job_id = commit(well[len(waits) % len(well)], ["c"])
            partition = well[len(waits) % len(well)]
            eventually(lambda each=partition, job=job_id: is_done(each, job))  # type: ignore[misc]
            waits.append(time.monotonic() - began)
        assert not any(is_drained(each) for each in held_up)
    print(f"waits: {sorted(waits)[-3:]} of {len(waits)}")
    # One fetch is waited for, for a second, before anybody knows.
    assert max(waits) < 2.5
    assert sorted(waits)[-2] < 1
    for partition in partitions:
        eventually(lambda each=partition: is_drained(each))  # type: ignore[misc]
    assert len(mesh.influx.rows()) == 6 + len(held_up) + len(waits)
    assert worker.process.is_running
