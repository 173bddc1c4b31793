"""The worker process on real Redis and real InfluxDB, through the faults it has to survive."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from google.protobuf.struct_pb2 import Value
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from ulid import ULID

from job_store import envelope
from job_store.counts import Counts, CountsReader
from job_store.dead_letters import DeadLetters
from job_store.envelope import use_envelopes
from job_store.keys import (
    ALERTS,
    DELIVER_ALERT,
    INTERACTIONS,
    LOG_INTERACTIONS,
    ONLY,
    QUEUES,
    WRITE_INTERACTIONS,
)
from mesh.messages import length_delimited_field
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest, RaiseAlertResponse
from sluice.job.v1 import job_pb2
from sluice.job.v1.job_pb2 import DeliverAlert, Interaction, JobRecord, LogInteractions
from sluice.queue.v1.envelope_pb2 import Envelope
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED
from tests.faults.marks import FETCH
from tests.kit.alert_service import Service
from tests.kit.health import is_serving
from tests.kit.processes import Process, free_port
from tests.kit.proxies import EMPTY_REPLY, RedisProxy
from tests.kit.servers import Influx, Redis
from tests.kit.waiting import eventually
from tests.unit.worker.test_alerts import nested_lists
from worker import dead_letters
from worker.actors import ALERT_TRIES
from worker.waiting import EXIT_CRASHED

HEARTBEAT_SECONDS = 3.0
CANARY = "CANARY-4c1f"
CLIENT_HASH = b"8 bytes."


class Worker:
    """`python -m worker`; with `supervised`, it is started again whenever it exits by itself."""

    def __init__(self, log: Path, redis_url: str, influx_url: str, **env: str) -> None:
        self.health_port = free_port()
        self.metrics_port = free_port()
        self.log = log
        self.statuses: list[int] = []
        self.process = Process(
            [sys.executable, "-m", "worker"],
            log,
            {
                "SLUICE_LISTEN": f"127.0.0.1:{self.health_port}",
                "SLUICE_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
                "SLUICE_REDIS_URL": redis_url,
                "SLUICE_INFLUX_URL": influx_url,
                "SLUICE_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
                **env,
            },
        )
        self._watching = False

    def start(self, *, supervised: bool = False) -> None:
        self.process.start()
        if supervised:
            self._watching = True
            threading.Thread(target=self._supervise, daemon=True).start()

    def _supervise(self) -> None:
        while self._watching:
            status = self.process.wait()
            if self._watching:
                self.statuses.append(status)
                self.process.start()

    def stop(self, number: int = signal.SIGKILL) -> int:
        self._watching = False
        return self.process.stop(number)

    def is_serving(self, service: str = "") -> bool:
        return is_serving(f"127.0.0.1:{self.health_port}", service)

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(each) for each in self.log.read_text().splitlines()]
        return [each for each in lines if each["event"] == event]


class Mesh:
    """Redis, InfluxDB, and as many workers as a test starts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.redis = Redis(directory / "redis")
        self.influx = Influx(directory / "influx")
        self.workers: list[Worker] = []

    def worker(self, **env: str) -> Worker:
        log = self.directory / f"worker{len(self.workers)}.log"
        worker = Worker(log, self.redis.url, self.influx.url, **env)
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.redis.process.stop()
        self.influx.process.stop()

    def enqueue(self, job: LogInteractions, *, waiting: bool = True) -> str:
        """Store a job as ingest does, and return the id of its message."""
        client = self.redis.client
        record = JobRecord(state=job_pb2.JOB_STATE_PENDING, size=len(job.interactions))
        record.clients.add(client_hash=CLIENT_HASH, count=len(job.interactions))
        message_id = f"m-{job.job_id}"
        transaction = client.pipeline()
        key, field = ONLY.record(job.job_id)
        transaction.hset(key, field, record.SerializeToString())
        transaction.expire(key, 600)
        transaction.hset(ONLY.open_jobs, job.job_id, len(job.interactions))
        transaction.hincrby(ONLY.counts, "accepted", len(job.interactions))
        transaction.execute()
        self.put(
            INTERACTIONS,
            WRITE_INTERACTIONS if job.first_time_unix_micro else LOG_INTERACTIONS,
            message_id,
            job.SerializeToString(),
            waiting=waiting,
        )
        return message_id

    def put(
        self, queue: str, actor: str, message_id: str, payload: bytes, *, waiting: bool = True
    ) -> None:
        message = envelope.pack(queue, actor, message_id, payload)
        self.put_raw(queue, message_id, message, waiting=waiting)

    def put_raw(self, queue: str, message_id: str, message: bytes, *, waiting: bool = True) -> None:
        transaction = self.redis.client.pipeline()
        transaction.hset(ONLY.messages(queue), message_id, message)
        if waiting:
            transaction.rpush(ONLY.waiting(queue), message_id)
        transaction.execute()

    def record(self, job: LogInteractions) -> JobRecord:
        found = cast(bytes | None, self.redis.client.hget(*ONLY.record(job.job_id)))
        return JobRecord.FromString(found or b"")

    def await_state(self, job: LogInteractions, state: int, seconds: float = 20.0) -> JobRecord:
        eventually(lambda: self.record(job).state == state, seconds)
        return self.record(job)

    def counts(self) -> Counts:
        return CountsReader(self.redis.client).counts()

    def dead(self, queue: str = INTERACTIONS) -> dict[str, str]:
        """Return the reasons of the dead letters by message id."""
        letters = DeadLetters(self.redis.client).find([queue])
        return {letter.message_id: letter.reason for letter in letters}

    def is_drained(self) -> bool:
        client = self.redis.client
        return not (
            [*client.scan_iter(ONLY.fetched("*", "*"))]
            or client.exists(*map(ONLY.waiting, QUEUES), *map(ONLY.messages, QUEUES))
            or client.hlen(ONLY.open_jobs)
        )


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    mesh.redis.start()
    mesh.influx.start()
    yield mesh
    mesh.close()
    for worker in mesh.workers:
        if worker.log.exists():
            assert CANARY not in worker.log.read_text()


def a_job(size: int = 3, start: int | None = None) -> LogInteractions:
    """`start` is in nanoseconds."""
    start = time.time_ns() if start is None else start
    job = LogInteractions(job_id=str(ULID()), first_time_unix_micro=start // 1000)
    for number in range(size):
        job.interactions.append(
            Interaction(
                verdict=VERDICT_REJECTED if number % 3 == 2 else VERDICT_ACCEPTED,
                source="tests",
                data=Value(string_value=f"{CANARY} {number}\n\\\"'"),
            )
        )
    return job


def an_older_job(size: int) -> LogInteractions:
    """Return a job as an earlier version queued it: every interaction has its own time."""
    job = a_job(size)
    for number, interaction in enumerate(job.interactions):
        interaction.time_unix_nano = job.first_time_unix_micro * 1000 + 7 + number
    job.ClearField("first_time_unix_micro")
    return job


def assert_written(mesh: Mesh, *jobs: LogInteractions) -> None:
    """Assert that InfluxDB holds exactly these jobs, one row for each interaction."""
    expected = {
        f"{job.job_id}-{index}": (
            each.time_unix_nano or (job.first_time_unix_micro + index) * 1000,
            each.data.string_value,
        )
        for job in jobs
        for index, each in enumerate(job.interactions)
    }
    rows = mesh.influx.rows()
    found = {row["task_id"]: (row["time"], json.loads(row["payload"])) for row in rows}
    assert len(rows) == len(found)
    assert found == expected


def test_writes_a_job_once(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    job = a_job()
    mesh.enqueue(job)
    record = mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert (record.attempts, record.last_error, len(record.failures)) == (1, "", 0)
    assert record.HasField("start_time")
    assert record.HasField("end_time")
    assert [(each.client_hash, each.count) for each in record.clients] == [(CLIENT_HASH, 3)]
    assert_written(mesh, job)
    eventually(mesh.is_drained)
    assert mesh.counts() == Counts(3, 3, 0)
    received = worker.lines("received")
    assert [each["task_id"] for each in received] == [f"{job.job_id}-{n}" for n in range(3)]
    assert [each["verdict"] for each in received] == ["accepted", "accepted", "rejected"]
    eventually(worker.is_serving)
    eventually(lambda: worker.is_serving("influxdb"))
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.metrics_port}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'sluice_interactions_total{outcome="written"} 3.0' in metrics
    assert "sluice_influx_up 1.0" in metrics
    assert mesh.redis.client.ttl(ONLY.record(job.job_id)[0]) > 0
    assert worker.stop(signal.SIGTERM) == 0


def test_a_settled_job_is_not_written_again(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    job, refused = a_job(), a_job(2)
    refused.interactions[1].ClearField("verdict")
    for each in (job, refused):
        mesh.enqueue(each)
        mesh.await_state(each, job_pb2.JOB_STATE_SUCCEEDED)
    eventually(lambda: len(mesh.dead()) == 1)
    before = [mesh.record(job), mesh.record(refused)]
    # What a worker leaves behind that dies after it settled a job and before it told the queue.
    for number, each in enumerate((job, refused)):
        payload = each.SerializeToString()
        mesh.put(INTERACTIONS, WRITE_INTERACTIONS, f"again-{number}", payload)
    eventually(lambda: mesh.dead().get("again-1") == "VERDICT_UNKNOWN")
    eventually(mesh.is_drained)
    assert [mesh.record(job), mesh.record(refused)] == before
    assert mesh.counts() == Counts(5, 4, 1)
    assert len(mesh.influx.rows()) == 4
    assert len(worker.lines("received")) == 5


def test_waits_while_influxdb_is_down(mesh: Mesh) -> None:
    mesh.influx.process.stop()
    worker = mesh.worker()
    worker.start()
    jobs = [a_job(start=time.time_ns() + 1000 * number) for number in range(4)]
    for job in jobs:
        mesh.enqueue(job)
    record = mesh.await_state(jobs[0], job_pb2.JOB_STATE_RETRYING)
    assert record.last_error == "UNREACHABLE"
    eventually(lambda: mesh.record(jobs[0]).attempts >= 2)
    # It waits; nobody should restart it for that.
    eventually(worker.is_serving)
    assert not worker.is_serving("influxdb")
    # Longer than the heartbeat: the jobs in hand stay with the worker that waits.
    time.sleep(HEARTBEAT_SECONDS + 1)
    mesh.influx.start()
    for job in jobs:
        mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, *jobs)
    eventually(mesh.is_drained)
    assert len(worker.lines("received")) == 12
    assert len(worker.lines("part is unavailable")) == 1
    assert worker.stop(signal.SIGTERM) == 0


def test_waits_while_influxdb_hangs(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    eventually(lambda: worker.is_serving("influxdb"))
    mesh.influx.process.send(signal.SIGSTOP)
    job = a_job()
    mesh.enqueue(job)
    record = mesh.await_state(job, job_pb2.JOB_STATE_RETRYING)
    assert record.last_error == "TIMEOUT"
    assert worker.is_serving()
    mesh.influx.process.send(signal.SIGCONT)
    mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, job)


def test_another_worker_takes_over_from_a_killed_one(mesh: Mesh) -> None:
    mesh.influx.process.stop()
    killed = mesh.worker()
    killed.start()
    job = a_job()
    mesh.enqueue(job)
    mesh.await_state(job, job_pb2.JOB_STATE_RETRYING)
    killed.stop(signal.SIGKILL)
    died = time.monotonic()
    # This one waits itself, with all its threads, when the other's job becomes free.
    other = mesh.worker(SLUICE_WORKER_THREADS="1")
    other.start()
    more = [a_job(start=time.time_ns() + 1000 * number) for number in range(3)]
    for each in more:
        mesh.enqueue(each)
    mesh.await_state(more[0], job_pb2.JOB_STATE_RETRYING)
    waiting = ONLY.waiting(INTERACTIONS)
    eventually(lambda: f"m-{job.job_id}".encode() in mesh.redis.client.lrange(waiting, 0, -1))
    assert time.monotonic() - died < HEARTBEAT_SECONDS + 5
    mesh.influx.start()
    for each in (job, *more):
        mesh.await_state(each, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, job, *more)
    eventually(mesh.is_drained)
    assert mesh.counts() == Counts(12, 12, 0)
    assert mesh.record(job).attempts >= 2


def test_a_stalled_worker_comes_back_to_a_job_that_another_has_done(mesh: Mesh) -> None:
    mesh.influx.process.stop()
    stalled = mesh.worker()
    stalled.start()
    job = a_job()
    mesh.enqueue(job)
    mesh.await_state(job, job_pb2.JOB_STATE_RETRYING)
    stalled.process.send(signal.SIGSTOP)
    mesh.influx.start()
    other = mesh.worker()
    other.start()
    mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    eventually(mesh.is_drained)
    settled = mesh.record(job)
    stalled.process.send(signal.SIGCONT)
    eventually(lambda: stalled.lines("part is back") or not stalled.process.is_running)
    eventually(mesh.is_drained)
    assert_written(mesh, job)
    assert mesh.record(job) == settled
    assert mesh.counts() == Counts(3, 3, 0)


def test_a_stop_gives_the_job_back(mesh: Mesh) -> None:
    mesh.influx.process.stop()
    worker = mesh.worker()
    worker.start()
    jobs = [a_job(start=time.time_ns() + 1000 * number) for number in range(3)]
    for job in jobs:
        mesh.enqueue(job)
    mesh.await_state(jobs[0], job_pb2.JOB_STATE_RETRYING)
    began = time.monotonic()
    assert worker.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 8
    waiting = cast(list[bytes], mesh.redis.client.lrange(ONLY.waiting(INTERACTIONS), 0, -1))
    assert sorted(waiting) == sorted(f"m-{job.job_id}".encode() for job in jobs)
    assert not [*mesh.redis.client.scan_iter(ONLY.fetched("*", "*"))]
    mesh.influx.start()
    successor = mesh.worker()
    successor.start()
    for job in jobs:
        mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, *jobs)


def test_one_refused_point_does_not_hold_up_the_others(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    eventually(lambda: worker.is_serving("influxdb"))
    # A database that drops what is older than an hour refuses old points for good.
    mesh.influx.query("ALTER RETENTION POLICY autogen ON logs DURATION 1h SHARD DURATION 1h")
    job = an_older_job(20)
    job.interactions[7].time_unix_nano -= 48 * 3600 * 10**9
    message_id = mesh.enqueue(job)
    record = mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert [(each.index, each.error_class) for each in record.failures] == [(7, "POINT_TOO_OLD")]
    eventually(lambda: mesh.dead() == {message_id: "POINT_TOO_OLD"})
    assert mesh.counts() == Counts(20, 19, 1)
    assert len(mesh.influx.rows()) == 19

    # The cause is removed, and the letter replayed: now all of it is there, once.
    mesh.influx.query("ALTER RETENTION POLICY autogen ON logs DURATION 0s")
    letters = DeadLetters(mesh.redis.client)
    (letter,) = letters.find()
    assert (letter.job_id, letter.failed, letter.actor) == (job.job_id, 1, LOG_INTERACTIONS)
    assert letters.replay(letter)
    assert not letters.replay(letter)
    eventually(lambda: len(mesh.record(job).failures) == 0)
    assert_written(mesh, job)
    eventually(mesh.is_drained)
    assert mesh.counts() == Counts(20, 20, 0)
    assert mesh.dead() == {}


def test_jobs_that_wait_are_one_request_and_a_refusal_touches_one_of_them(mesh: Mesh) -> None:
    worker = mesh.worker(SLUICE_WORKER_THREADS="1")
    worker.start()
    eventually(lambda: worker.is_serving("influxdb"))
    mesh.influx.query("ALTER RETENTION POLICY autogen ON logs DURATION 1h SHARD DURATION 1h")
    worker.stop(signal.SIGTERM)
    jobs = [an_older_job(3) for _ in range(6)]
    jobs[2].interactions[1].time_unix_nano -= 48 * 3600 * 10**9
    message_ids = [mesh.enqueue(job) for job in jobs]
    mesh.put(INTERACTIONS, LOG_INTERACTIONS, "no-job", b"\xff")
    other = mesh.worker(SLUICE_WORKER_THREADS="1")
    other.start()
    for job in jobs:
        record = mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
        failed = [(each.index, each.error_class) for each in record.failures]
        assert failed == ([(1, "POINT_TOO_OLD")] if job is jobs[2] else [])
        assert record.attempts == 1
    dead = {message_ids[2]: "POINT_TOO_OLD", "no-job": "UNDECODABLE"}
    eventually(lambda: mesh.dead() == dead)
    eventually(mesh.is_drained)
    assert mesh.counts() == Counts(18, 17, 1)
    assert len(mesh.influx.rows()) == 17
    with urllib.request.urlopen(f"http://127.0.0.1:{other.metrics_port}/metrics") as answer:
        metrics = answer.read().decode()
    (line,) = [each for each in metrics.splitlines() if "influx_write_seconds_count" in each]
    # 18 rows in one request, then by halves until the refused one is alone.
    assert float(line.split()[1]) <= 5


def test_dead_letters_are_listed_without_their_payload(
    mesh: Mesh, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_REDIS_URL", mesh.redis.url)
    worker = mesh.worker()
    worker.start()
    mesh.put(INTERACTIONS, WRITE_INTERACTIONS, "damaged", b"\xff" + CANARY.encode())
    eventually(lambda: mesh.dead() == {"damaged": "UNDECODABLE"})
    assert dead_letters.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert WRITE_INTERACTIONS in printed
    assert "1 dead letters" in printed
    assert CANARY not in printed
    assert dead_letters.main(["replay", "damaged"]) == 0
    assert capsys.readouterr().out == "replayed 1 of 1\n"
    eventually(lambda: len(worker.lines("dead letter")) == 2)


def test_a_message_for_a_later_version_waits_for_it(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    mesh.put(INTERACTIONS, f"{WRITE_INTERACTIONS}_v2", "later", b"new payload")
    eventually(lambda: len(worker.lines("unknown actor")) == 1)
    job = a_job()
    mesh.enqueue(job)
    mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    eventually(lambda: mesh.redis.client.hkeys(ONLY.messages(INTERACTIONS)) == [b"later"])
    assert mesh.dead() == {}


def test_poison_is_set_aside(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    poison = f"\xff\xfe{CANARY}".encode("latin-1")
    mesh.put_raw(INTERACTIONS, "no-envelope", poison)
    mesh.put_raw(INTERACTIONS, "no-envelope-either", poison)
    mesh.put_raw(INTERACTIONS, "nothing-inside", b"")
    mesh.put(INTERACTIONS, WRITE_INTERACTIONS, "no-job", poison)
    mesh.put(INTERACTIONS, WRITE_INTERACTIONS, "astray", a_job().SerializeToString())
    astray = cast(bytes, mesh.redis.client.hget(ONLY.messages(INTERACTIONS), "astray"))
    mesh.redis.client.hset(
        ONLY.messages(INTERACTIONS), "astray", astray.replace(b"interactions", b"elsewhere...", 1)
    )
    # An id that is in the queue twice has no message the second time.
    mesh.redis.client.rpush(ONLY.waiting(INTERACTIONS), "gone")
    job = a_job()
    mesh.enqueue(job)
    mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    names = ["no-envelope", "no-envelope-either", "nothing-inside", "no-job", "astray"]
    eventually(lambda: mesh.dead() == dict.fromkeys(names, "UNDECODABLE"))
    eventually(mesh.is_drained)
    logged = worker.lines("dead letter")
    assert sorted(each["message_id"] for each in logged) == sorted(names)
    assert worker.process.is_running


def test_a_lost_fetch_reply_loses_nothing(mesh: Mesh) -> None:
    proxy = RedisProxy(mesh.redis.port)
    worker = mesh.worker(SLUICE_REDIS_URL=proxy.url)
    worker.start(supervised=True)
    eventually(worker.is_serving)
    proxy.lose(*FETCH, spared=EMPTY_REPLY)
    jobs = [a_job(start=time.time_ns() + 1000 * number) for number in range(6)]
    for job in jobs:
        mesh.enqueue(job)
    for job in jobs:
        mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, *jobs)
    eventually(mesh.is_drained)
    assert worker.statuses == []


def test_the_audit_finds_messages_that_never_arrived(mesh: Mesh) -> None:
    mesh.influx.process.stop()
    worker = mesh.worker()
    worker.start(supervised=True)
    job, lost = a_job(), a_job(start=time.time_ns() + 1000)
    mesh.enqueue(job)
    mesh.await_state(job, job_pb2.JOB_STATE_RETRYING)
    client = mesh.redis.client
    (held,) = client.scan_iter(ONLY.fetched(INTERACTIONS, "*"))
    # Fetched in its name, behind its back.
    client.sadd(held, f"m-{lost.job_id}")
    mesh.enqueue(lost, waiting=False)
    eventually(lambda: worker.statuses == [EXIT_CRASHED])
    mesh.influx.start()
    for each in (job, lost):
        mesh.await_state(each, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, job, lost)


@pytest.mark.parametrize("seconds_down", [0.2, 4.0])
def test_redis_is_killed_while_jobs_wait(mesh: Mesh, seconds_down: float) -> None:
    mesh.influx.process.stop()
    worker = mesh.worker()
    worker.start(supervised=True)
    jobs = [a_job(start=time.time_ns() + 1000 * number) for number in range(4)]
    for job in jobs:
        mesh.enqueue(job)
    mesh.await_state(jobs[0], job_pb2.JOB_STATE_RETRYING)
    # `appendfsync everysec` keeps what a killed Redis has acknowledged.
    mesh.redis.process.stop(signal.SIGKILL)
    time.sleep(seconds_down)
    mesh.redis.start()
    mesh.influx.start()
    for job in jobs:
        mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, *jobs)
    eventually(mesh.is_drained)
    assert mesh.counts() == Counts(12, 12, 0)
    assert worker.statuses == []


def test_redis_hangs_while_jobs_wait(mesh: Mesh) -> None:
    mesh.influx.process.stop()
    worker = mesh.worker()
    worker.start(supervised=True)
    jobs = [a_job(start=time.time_ns() + 1000 * number) for number in range(4)]
    for job in jobs:
        mesh.enqueue(job)
    mesh.await_state(jobs[0], job_pb2.JOB_STATE_RETRYING)
    mesh.redis.process.send(signal.SIGSTOP)
    eventually(lambda: worker.lines("partition does not answer"))
    mesh.redis.process.send(signal.SIGCONT)
    mesh.influx.start()
    for job in jobs:
        mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    assert_written(mesh, *jobs)
    eventually(mesh.is_drained)
    assert worker.statuses == []


def test_waits_for_redis_at_start(mesh: Mesh) -> None:
    mesh.redis.process.stop()
    worker = mesh.worker()
    worker.start()
    eventually(lambda: worker.lines("Redis does not take commands"))
    assert not worker.is_serving()
    mesh.redis.start()
    eventually(worker.is_serving)
    assert worker.stop(signal.SIGTERM) == 0


def test_stops_while_redis_is_away(mesh: Mesh) -> None:
    mesh.redis.process.stop()
    worker = mesh.worker()
    worker.start()
    eventually(lambda: worker.lines("Redis does not take commands"))
    assert worker.stop(signal.SIGTERM) == 0


class AlertService:
    """Answers RaiseAlert as a test wishes."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.refused = ""
        """Only the alert of this id gets the code, when there is one."""
        self.tries = 0
        self.raised: list[str] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._raise_alert,
            RaiseAlertRequest.FromString,
            RaiseAlertResponse.SerializeToString,
        )
        self._server.add_registered_method_handlers(
            "sluice.alert.v1.AlertService", {"RaiseAlert": handler}
        )
        self.health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(0).wait()

    def _raise_alert(
        self, request: RaiseAlertRequest, context: grpc.ServicerContext
    ) -> RaiseAlertResponse:
        if self.code is not None and self.refused in {"", request.alert_id}:
            self.tries += 1
            context.abort(self.code, CANARY)
        self.raised.append(request.alert_id)
        return RaiseAlertResponse(alert_id=request.alert_id)


@pytest.fixture
def alert_service() -> Iterator[AlertService]:
    service = AlertService()
    yield service
    service.close()


def test_delivers_alerts_beside_waiting_jobs(mesh: Mesh, alert_service: AlertService) -> None:
    alert_service.code = grpc.StatusCode.UNAVAILABLE
    mesh.influx.process.stop()
    worker = mesh.worker(SLUICE_ALERT_TARGET=f"127.0.0.1:{alert_service.port}")
    worker.start()
    for number in range(4):
        mesh.enqueue(a_job(start=time.time_ns() + 1000 * number))
    for number in range(2):
        alert = RaiseAlertRequest(alert_id=f"alert-{number}-id", event_type="PII")
        alert.payload.string_value = CANARY
        payload = DeliverAlert(alert=alert).SerializeToString()
        mesh.put(ALERTS, DELIVER_ALERT, f"a-{number}", payload)
    eventually(lambda: worker.lines("part is unavailable"))
    assert alert_service.raised == []
    alert_service.code = None
    eventually(lambda: alert_service.raised == ["alert-0-id", "alert-1-id"])
    alert_service.code = grpc.StatusCode.INVALID_ARGUMENT
    mesh.put(ALERTS, DELIVER_ALERT, "bad", DeliverAlert().SerializeToString())
    eventually(lambda: mesh.dead(ALERTS) == {"bad": "ALERT_REFUSED"})


def queue_alert(mesh: Mesh, alert_id: str, event_type: str = "PII") -> None:
    alert = RaiseAlertRequest(alert_id=alert_id, event_type=event_type)
    mesh.put(ALERTS, DELIVER_ALERT, alert_id, DeliverAlert(alert=alert).SerializeToString())


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
def test_an_alert_that_is_never_taken_lets_the_others_by(
    mesh: Mesh, alert_service: AlertService, code: grpc.StatusCode
) -> None:
    alert_service.code = code
    alert_service.refused = "poison-alert"
    worker = mesh.worker(SLUICE_ALERT_TARGET=f"127.0.0.1:{alert_service.port}")
    worker.start()
    for alert_id in ("poison-alert", "alert-0-id", "alert-1-id"):
        queue_alert(mesh, alert_id)
    eventually(lambda: alert_service.raised == ["alert-0-id", "alert-1-id"])
    assert mesh.dead(ALERTS) == {"poison-alert": f"ALERT_{code.name}"}
    assert alert_service.tries == ALERT_TRIES


def test_a_service_that_is_unwell_makes_no_dead_letter(
    mesh: Mesh, alert_service: AlertService
) -> None:
    alert_service.code = grpc.StatusCode.INTERNAL
    alert_service.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    worker = mesh.worker(SLUICE_ALERT_TARGET=f"127.0.0.1:{alert_service.port}")
    worker.start()
    queue_alert(mesh, "alert-0-id")
    eventually(lambda: alert_service.tries > ALERT_TRIES + 1)
    assert mesh.dead(ALERTS) == {}
    alert_service.code = None
    eventually(lambda: alert_service.raised == ["alert-0-id"])


@pytest.fixture
def real_alert_service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, SLUICE_MAX_REPORTS="3")
    service.start()
    yield service
    service.close()


def test_what_earlier_versions_queued_gets_through_to_the_service(
    mesh: Mesh, real_alert_service: Service
) -> None:
    """Each of these kept all the others from it."""
    service = real_alert_service
    worker = mesh.worker(SLUICE_ALERT_TARGET=service.address)
    large = RaiseAlertRequest(alert_id="large-alert", event_type="PII")
    large.payload.string_value = CANARY * 500_000
    for _ in range(50_000):
        large.findings.add(detector="us_ssn", path="/data/" + "x" * 100)
    deep = RaiseAlertRequest(alert_id="deep-alert", event_type="PII").SerializeToString()
    payload = length_delimited_field(1, deep + length_delimited_field(5, nested_lists(200)))
    mesh.put(ALERTS, DELIVER_ALERT, "large", DeliverAlert(alert=large).SerializeToString())
    mesh.put(ALERTS, DELIVER_ALERT, "deep", payload)
    mesh.put(ALERTS, DELIVER_ALERT, "noise", b"\xff")
    queue_alert(mesh, "refused-alert", event_type="no type")
    queue_alert(mesh, "alert-0-id")
    queue_alert(mesh, "alert-1-id")
    worker.start()
    eventually(lambda: len(service.reports()) == 3)
    assert mesh.dead(ALERTS) == {"noise": "UNDECODABLE", "refused-alert": "ALERT_REFUSED"}
    reports = [json.loads((service.path / name).read_text()) for name in service.reports()]
    by_id = {each["alert"]["alert_id"]: each for each in reports}
    assert by_id["large-alert"]["alert"]["cut"]
    assert by_id["large-alert"]["alert"]["finding_count"] == 50_000
    assert by_id["deep-alert"]["alert"]["cut"]
    assert "payload" not in by_id["deep-alert"]
    assert "cut" not in by_id["alert-0-id"]["alert"]
    # There is no room for the last one, which waits until somebody makes some.
    eventually(lambda: worker.lines("part is unavailable"))
    (service.path / by_id["deep-alert"]["alert"]["report"]).unlink()
    eventually(lambda: mesh.redis.client.hlen(ONLY.messages(ALERTS)) == 0, seconds=30)
    assert len(service.reports()) == 3


def test_a_full_redis_is_drained(mesh: Mesh, alert_service: AlertService) -> None:
    """At its memory limit, by alerts as well as by jobs: fetched, done, failed and given back."""
    jobs = [a_job(3, start=time.time_ns() + 10_000_000 * number) for number in range(4)]
    for job in jobs:
        mesh.enqueue(job)
    refused = a_job(2)
    refused.interactions[1].ClearField("verdict")
    message_id = mesh.enqueue(refused)
    mesh.put(INTERACTIONS, WRITE_INTERACTIONS, "damaged", b"\xff")
    alert = RaiseAlertRequest(alert_id="alert-1-id", event_type="PII")
    payload = DeliverAlert(alert=alert).SerializeToString()
    mesh.put(ALERTS, DELIVER_ALERT, "a-1", payload)
    # What a dead worker held.
    redis_client = mesh.redis.client
    redis_client.lpop(ONLY.waiting(INTERACTIONS))
    redis_client.sadd(ONLY.fetched(INTERACTIONS, "dead"), f"m-{jobs[0].job_id}")
    redis_client.zadd(ONLY.heartbeats, {"dead": 1})
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        redis_client.set("x", "y")

    worker = mesh.worker(SLUICE_ALERT_TARGET=f"127.0.0.1:{alert_service.port}")
    worker.start()
    for job in (*jobs, refused):
        mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    eventually(lambda: mesh.dead() == {message_id: "VERDICT_UNKNOWN", "damaged": "UNDECODABLE"})
    eventually(lambda: alert_service.raised == ["alert-1-id"])
    eventually(mesh.is_drained)
    assert mesh.counts() == Counts(14, 13, 1)
    letters = DeadLetters(redis_client)
    assert [letters.replay(letter) for letter in letters.find() if letter.failed] == [True]
    eventually(lambda: mesh.dead() == {message_id: "VERDICT_UNKNOWN", "damaged": "UNDECODABLE"})
    assert worker.stop(signal.SIGTERM) == 0
    assert len(mesh.influx.rows()) == 13


def test_stored_layout_is_dramatiqs_own(mesh: Mesh) -> None:
    use_envelopes()
    client = mesh.redis.client
    stock = RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]
    message: Message[None] = Message(
        INTERACTIONS, WRITE_INTERACTIONS, (b"payload",), {}, {}, "the-id", 1_700_000_000_000
    )
    stored = stock.enqueue(message)
    redis_id = stored.options["redis_message_id"]
    by_dramatiq = client.hget(ONLY.messages(INTERACTIONS), redis_id)
    assert client.lrange(ONLY.waiting(INTERACTIONS), 0, -1) == [redis_id.encode()]
    expected = Envelope(
        queue_name=INTERACTIONS,
        actor_name=WRITE_INTERACTIONS,
        message_id="the-id",
        message_timestamp=1_700_000_000_000,
        payload=b"payload",
    )
    expected.options.update({"redis_message_id": redis_id})
    assert by_dramatiq == expected.SerializeToString()


def test_whatever_is_sent_comes_back_from_influxdb(mesh: Mesh) -> None:
    worker = mesh.worker()
    worker.start()
    hostile = [
        "",
        "\\",
        '\\"',
        '"',
        "a\\",
        "tail\\\\",
        "line\nbreak",
        "\r\n\t\x00\x01\x1f\x7f",
        "a=b,c d",
        "# comment",
        "\u2028\ud7ff\U0001f600é",
        "x" * 65536,
        "' or 1=1",
    ]
    job = a_job(len(hostile))
    for interaction, text in zip(job.interactions, hostile, strict=True):
        interaction.data.struct_value.update({text: [text, None, True, 1.5, -3.0, {}, []]})
        interaction.source = text
        interaction.detectors[:] = ["one", "two"]
    mesh.enqueue(job)
    mesh.await_state(job, job_pb2.JOB_STATE_SUCCEEDED)
    found = {row["task_id"]: row for row in mesh.influx.rows()}
    for index, text in enumerate(hostile):
        row = found[f"{job.job_id}-{index}"]
        assert json.loads(row["payload"]) == {text: [text, None, True, 1.5, -3, {}, []]}
        assert (row["source"] or "") == text
        assert row["detectors"] == "one,two"
