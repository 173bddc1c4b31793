"""`make audit` on a real Redis and a real InfluxDB, with real jobs that a test then falsifies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.connection import Connection

from job_store import snapshot
from job_store.dead_letters import DeadLetters
from job_store.keys import INTERACTIONS, ONLY
from job_store.redis_client import connect
from job_store.snapshot import SnapshotReader
from job_store.store import Entry
from sluice.job.v1.job_pb2 import (
    JOB_STATE_FAILED,
    JOB_STATE_PENDING,
    Interaction,
    ItemFailure,
    JobRecord,
    LogInteractions,
)
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_UNSPECIFIED, Verdict
from tests.kit.processes import ROOT, Process, free_port
from tests.kit.servers import Influx, Redis
from tests.kit.stores import BlockingJobStore, only_partition
from tests.kit.threads import repeating
from tests.kit.waiting import eventually
from worker.reconciliation import compare
from worker.reconciliation.__main__ import BALANCED, DIFFERENT, UNKNOWN, main

CANARY = "CANARY-77b0"


class Mesh:
    """Redis, InfluxDB, ingest's way to store jobs, and a worker when a test wants one."""

    def __init__(self, directory: Path, redis: Redis, influx: Influx) -> None:
        self.redis = redis
        self.influx = influx
        self.metrics_port = free_port()
        self.env = {
            "SLUICE_REDIS_URL": redis.url,
            "SLUICE_INFLUX_URL": influx.url,
            "SLUICE_LISTEN": f"127.0.0.1:{free_port()}",
            "SLUICE_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
        }
        self.worker = Process([sys.executable, "-m", "worker"], directory / "worker.log", self.env)
        self._jobs = BlockingJobStore(only_partition(redis.url))

    def accept(self, *verdicts: Verdict.ValueType) -> str:
        """Store a job with interactions of these verdicts as ingest does; return its id."""
        entries = []
        for verdict in verdicts:
            interaction = Interaction(verdict=verdict)
            interaction.data.string_value = CANARY
            entries.append(Entry(LogInteractions(interactions=[interaction]).SerializeToString()))
        return self._jobs.commit(entries)[0].job_id

    def drain(self) -> None:
        """Let a worker write everything, and stop it."""
        self.worker.start()
        eventually(self.is_drained)
        assert self.worker.stop(signal.SIGTERM) == 0

    def is_drained(self) -> bool:
        client = self.redis.client
        return not client.hlen(ONLY.open_jobs) and not client.hlen(ONLY.messages(INTERACTIONS))

    def record(self, job_id: str) -> JobRecord:
        stored = self.redis.client.hget(*ONLY.record(job_id))
        assert isinstance(stored, bytes)
        return JobRecord.FromString(stored)

    def keep(self, job_id: str, record: JobRecord) -> None:
        key, field = ONLY.record(job_id)
        self.redis.client.hset(key, field, record.SerializeToString())

    def write_row(self, task_id: str) -> None:
        line = f'interactions,verdict=accepted payload="{CANARY}",task_id="{task_id}"'
        url = f"{self.influx.url}/write?db=logs"
        with urllib.request.urlopen(url, data=line.encode(), timeout=5) as answer:
            assert answer.status == 204

    def delete_row(self, task_id: str) -> None:
        (row,) = [row for row in self.influx.rows() if row["task_id"] == task_id]
        self.influx.query(f"DELETE FROM interactions WHERE time = {row['time']}")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Redis, Influx]]:
    directory = tmp_path_factory.mktemp("reconciliation")
    redis, influx = Redis(directory / "redis"), Influx(directory / "influx")
    redis.start()
    influx.start()
    yield redis, influx
    redis.process.stop()
    influx.process.stop()


@pytest.fixture
def mesh(
    tmp_path: Path, parts: tuple[Redis, Influx], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mesh]:
    redis, influx = parts
    redis.client.flushall()
    influx.query("DROP DATABASE logs")
    influx.query("CREATE DATABASE logs")
    mesh = Mesh(tmp_path, redis, influx)
    monkeypatch.setenv("SLUICE_REDIS_URL", redis.url)
    monkeypatch.setenv("SLUICE_INFLUX_URL", influx.url)
    yield mesh
    mesh.worker.stop()


class Recorded:
    """Two finished jobs: one all written, one with an interaction that failed."""

    def __init__(self, mesh: Mesh) -> None:
        self.whole = mesh.accept(*[VERDICT_ACCEPTED] * 3)
        self.partial = mesh.accept(
            VERDICT_ACCEPTED, VERDICT_UNSPECIFIED, VERDICT_ACCEPTED, VERDICT_ACCEPTED
        )
        mesh.drain()


@pytest.fixture
def recorded(mesh: Mesh) -> Recorded:
    return Recorded(mesh)


class Audit:
    """Runs the audit and holds what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        self._capsys.readouterr()
        status = main(arguments)
        self.out, self.err = self._capsys.readouterr()
        assert CANARY not in self.out + self.err
        return status

    def number(self, name: str) -> int:
        (line,) = [line for line in self.out.splitlines() if line.startswith(f"{name}  ")]
        return int(line.removeprefix(name).split()[0].replace(",", ""))


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Audit:
    return Audit(capsys)


def test_an_empty_mesh_balances(mesh: Mesh, audit: Audit) -> None:
    assert audit() == BALANCED, audit.out
    assert audit.number("rows in InfluxDB") == 0


def test_counts_with_a_failed_point_balance(mesh: Mesh, recorded: Recorded) -> None:
    command = [sys.executable, "-m", "worker.reconciliation"]
    done = subprocess.run(
        command, env=mesh.worker.environment, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (BALANCED, "")
    lines = [line.split("  accepted since")[0] for line in done.stdout.splitlines()]
    assert lines == [
        "accepted                       7",
        "written                        6",
        "failed                         1",
        "in flight                      0",
        "difference                     0",
        "rows in InfluxDB               6",
        "jobs compared                  2",
        "jobs that differ               0",
        "",
        "The counts agree.",
    ]


def test_jobs_that_wait_are_in_flight(mesh: Mesh, recorded: Recorded, audit: Audit) -> None:
    mesh.accept(VERDICT_ACCEPTED, VERDICT_ACCEPTED)
    assert audit() == BALANCED, audit.out
    assert audit.number("in flight") == 2
    assert "jobs: 1 waiting, 0 fetched, 0 dead" in audit.out


def test_counts_balance_while_the_mesh_works(mesh: Mesh, audit: Audit) -> None:
    def load() -> None:
        mesh.accept(VERDICT_ACCEPTED, VERDICT_UNSPECIFIED, VERDICT_ACCEPTED)

    mesh.worker.start()
    with repeating(load):
        for number in range(20):
            assert audit() == BALANCED, audit.out
            if number == 10:
                # What a worker leaves behind that is killed goes to the next one.
                mesh.worker.stop(signal.SIGKILL)
                mesh.worker.start()
    eventually(mesh.is_drained, 60)
    assert audit() == BALANCED, audit.out
    assert audit.number("jobs compared") == audit.number("failed") > 0


def test_counts_balance_while_many_jobs_move(
    mesh: Mesh, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a piece of everything, so that all of it moves while it is read."""
    monkeypatch.setattr(snapshot, "CHUNK", 10)
    monkeypatch.setattr(compare, "CHUNK", 10)
    monkeypatch.setattr(compare, "SUSPECTS", 5)
    for _ in range(600):
        # Little is read at once only from what is too large to be packed.
        mesh.accept(VERDICT_ACCEPTED, VERDICT_UNSPECIFIED)

    def load() -> None:
        if mesh.redis.client.llen(ONLY.waiting(INTERACTIONS)) < 600:
            mesh.accept(VERDICT_ACCEPTED, VERDICT_UNSPECIFIED, VERDICT_ACCEPTED)

    mesh.worker.start()
    with repeating(load):
        for number in range(8):
            assert audit() == BALANCED, audit.out
            assert audit.number("difference") == 0
            if number == 4:
                mesh.worker.stop(signal.SIGKILL)
                mesh.worker.start()
    eventually(mesh.is_drained, 60)
    assert audit() == BALANCED, audit.out
    assert audit.number("jobs compared") == audit.number("failed") >= 600


def fill(client: redis.Redis, count: int, dead: int = 0) -> list[str]:
    """Let so many jobs wait, and so many have failed; return the ids of those that wait."""
    now = time.time()
    pending = JobRecord(state=JOB_STATE_PENDING, size=1)
    pending.accept_time.FromSeconds(int(now) - 60)
    failed = JobRecord(state=JOB_STATE_FAILED, size=1, failures=[ItemFailure()])
    failed.accept_time.FromSeconds(int(now) - 60)
    failed.end_time.FromSeconds(int(now) - 50)
    ids = [f"{number // 5000:08X}{number:018X}" for number in range(count + dead)]
    for start in range(0, count + dead, 1000):
        with client.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + 1000, count + dead)):
                job_id = ids[number]
                record = pending if number < count else failed
                key, field = ONLY.record(job_id)
                pipeline.hset(key, field, record.SerializeToString())
                message = b"m" * (100_000 if number % 1000 == 0 else 200)
                if number < count:
                    pipeline.hset(ONLY.open_jobs, job_id, 1)
                    pipeline.hset(ONLY.messages(INTERACTIONS), job_id, message)
                    pipeline.rpush(ONLY.waiting(INTERACTIONS), job_id)
                else:
                    pipeline.hset(ONLY.causes, job_id, "1 REFUSED")
                    pipeline.hset(ONLY.dead_messages(INTERACTIONS), job_id, message)
                    pipeline.zadd(ONLY.dead(INTERACTIONS), {job_id: number})
            pipeline.execute()
    client.hset(ONLY.counts, mapping={"accepted": count + dead, "failed": dead})
    return ids[:count]


class Replies:
    """Counts what the audit's connections read from Redis."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_elements = 0
        self.most_bytes = 0
        reads = Connection.read_response

        def read_response(connection: Connection, *args: Any, **options: Any) -> Any:
            reply = reads(connection, *args, **options)
            elements, size = self._measured(reply)
            self.most_elements = max(self.most_elements, elements)
            self.most_bytes = max(self.most_bytes, size)
            return reply

        monkeypatch.setattr(Connection, "read_response", read_response)

    def _measured(self, reply: Any) -> tuple[int, int]:
        if isinstance(reply, list):
            parts = [self._measured(each) for each in reply]
            return sum(count for count, _ in parts), sum(size for _, size in parts)
        return 1, len(reply) if isinstance(reply, bytes) else 8


def test_redis_is_asked_for_little_at_a_time(
    mesh: Mesh, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mesh.redis.client
    waiting = fill(client, 30_000, dead=10_000)
    with client.pipeline() as pipeline:
        pipeline.ltrim(ONLY.waiting(INTERACTIONS), 5000, -1)
        pipeline.sadd(ONLY.fetched(INTERACTIONS, "w"), *waiting[:5000])
        pipeline.zadd(ONLY.heartbeats, {"w": time.time() * 1000})
        pipeline.execute()
    client.config_set("slowlog-max-len", 128)
    client.config_set("slowlog-log-slower-than", 5000)
    replies = Replies(monkeypatch)

    def slow() -> set[bytes]:
        client.slowlog_reset()
        assert audit() == BALANCED, audit.out
        return {entry["command"] for entry in client.slowlog_get(128)}

    # On a busy machine any command may be slow once, but not the same one each time.
    found = slow()
    for _ in range(3):
        found = found and found & slow()
    assert not found
    assert audit.number("in flight") == 30_000
    assert "jobs: 25,000 waiting, 5,000 fetched, 0 dead" in audit.out
    assert audit.number("jobs compared") == audit.number("failed") == 10_000
    # A piece, perhaps a little more, of pairs or of three facts about each.
    assert replies.most_elements < 4 * snapshot.CHUNK
    assert replies.most_bytes < 100_000


def test_dead_letters_are_read_little_by_little(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mesh.redis.client, 0, dead=10_000)
    replies = Replies(monkeypatch)
    found = list(DeadLetters(mesh.redis.client).find())
    assert len(found) == len({letter.message_id for letter in found}) == 10_000
    assert [letter.died for letter in found] == [number / 1000 for number in range(10_000)]
    assert {(letter.queue, letter.reason, letter.failed) for letter in found} == {
        (INTERACTIONS, "REFUSED", 1)
    }
    assert replies.most_elements < 4 * snapshot.CHUNK
    # One message at a time.
    assert replies.most_bytes <= 100_000


def test_a_waiting_job_is_found_wherever_it_moves(
    mesh: Mesh, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker gives back what it had fetched after the end of the queue was read, and more is
    added behind it than one look shows.
    """
    client = mesh.redis.client
    first, lost, *_ = fill(client, 2000)
    later = [f"later{number}" for number in range(1200)]
    client.lpop(ONLY.waiting(INTERACTIONS), 2)
    fetched = SnapshotReader.fetched

    def give_back(reader: SnapshotReader) -> Iterator[list[str]]:
        client.rpush(ONLY.waiting(INTERACTIONS), first, *later)
        return fetched(reader)

    monkeypatch.setattr(SnapshotReader, "fetched", give_back)
    assert audit() == DIFFERENT, audit.out
    assert audit.number("jobs that differ") == 1
    assert f"{lost}  open, and its message is gone: nobody will write it" in audit.out
    assert "jobs: 1,999 waiting, 0 fetched, 0 dead" in audit.out


def test_many_jobs_without_their_messages_are_counted(mesh: Mesh, audit: Audit) -> None:
    ids = fill(mesh.redis.client, 3000)
    mesh.redis.client.hdel(ONLY.messages(INTERACTIONS), *ids[:1000])
    mesh.redis.client.ltrim(ONLY.waiting(INTERACTIONS), 500, 1999)
    assert audit() == DIFFERENT, audit.out
    assert audit.number("jobs that differ") == 2000
    assert "jobs: 1,000 waiting, 0 fetched, 0 dead" in audit.out


def test_what_a_reading_must_not_miss_is_in_it(mesh: Mesh) -> None:
    """Hashes grow and shrink, and the queue moves on, while they are read in pieces."""
    client = mesh.redis.client
    ids = fill(client, 4000)
    stays = ids[1500:]
    reader = SnapshotReader(connect(mesh.redis.url))

    def move(step: int) -> None:
        if step == 0:
            client.hset(ONLY.open_jobs, mapping={f"new{number}": 1 for number in range(20_000)})
            client.rpush(ONLY.waiting(INTERACTIONS), *(f"new{number}" for number in range(700)))
        if step == 1:
            client.hdel(ONLY.open_jobs, *ids[:1500], *(f"new{number}" for number in range(20_000)))
            client.lpop(ONLY.waiting(INTERACTIONS), 1500)

    found: set[str] = set()
    for step, (_, jobs) in enumerate(reader.open_jobs()):
        found |= {job_id for job_id, _ in jobs}
        move(step)
    assert found >= set(stays)
    fill(client, 4000)
    waiting: list[str] = []
    for step, some in enumerate(reader.waiting()):
        waiting += some
        move(step)
    assert set(waiting) >= set(stays)


def test_a_missing_row_differs(mesh: Mesh, recorded: Recorded, audit: Audit) -> None:
    mesh.delete_row(f"{recorded.whole}-1")
    assert audit() == DIFFERENT, audit.out
    assert f"{recorded.whole}  1 of 3 rows missing ({recorded.whole}-1)" in audit.out
    assert "Rows in InfluxDB are 1 less than counted as written." in audit.out
    assert audit.number("jobs that differ") == 1
    assert audit.number("difference") == 0


@pytest.mark.parametrize("entry", ["accepted", "written", "failed"])
@pytest.mark.parametrize("error", [1, -1])
def test_a_wrong_count_differs(
    mesh: Mesh, recorded: Recorded, audit: Audit, entry: str, error: int
) -> None:
    mesh.redis.client.hincrby(ONLY.counts, entry, error)
    assert audit() == DIFFERENT, audit.out
    assert audit.number("difference") == (error if entry == "accepted" else -error)
    assert "than written, failed and in flight together." in audit.out
    assert ("than the dead letters explain" in audit.out) == (entry == "failed")


@pytest.mark.parametrize("lost", ["message", "place"])
def test_an_open_job_without_its_message_differs(
    mesh: Mesh, recorded: Recorded, audit: Audit, lost: str
) -> None:
    job_id = mesh.accept(VERDICT_ACCEPTED)
    if lost == "message":
        mesh.redis.client.hdel(ONLY.messages(INTERACTIONS), job_id)
    else:
        mesh.redis.client.lrem(ONLY.waiting(INTERACTIONS), 1, job_id)
    assert audit() == DIFFERENT, audit.out
    assert f"{job_id}  open, and its message is gone: nobody will write it" in audit.out
    assert audit.number("difference") == 0


def test_a_doubled_row_differs(mesh: Mesh, recorded: Recorded, audit: Audit) -> None:
    mesh.write_row(f"{recorded.whole}-2")
    assert audit() == DIFFERENT, audit.out
    assert f"{recorded.whole}  written more than once: {recorded.whole}-2" in audit.out
    assert "Rows in InfluxDB are 1 more than Redis knows of." in audit.out


def test_a_doubled_row_does_not_make_up_for_a_missing_one(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    mesh.write_row(f"{recorded.whole}-2")
    mesh.delete_row(f"{recorded.whole}-0")
    assert audit() == DIFFERENT, audit.out
    assert audit.number("rows in InfluxDB") == audit.number("written")
    assert "1 of 3 rows missing" in audit.out
    assert "written more than once" in audit.out


def test_a_row_of_a_failed_interaction_differs(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    mesh.write_row(f"{recorded.partial}-1")
    assert audit() == DIFFERENT, audit.out
    assert f"{recorded.partial}  written though not to be: {recorded.partial}-1" in audit.out


def test_rows_of_a_job_that_was_never_accepted_differ(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    stranger = mesh.accept(VERDICT_ACCEPTED)
    mesh.drain()
    mesh.redis.client.hdel(*ONLY.record(stranger))
    # Its record may have expired.
    assert audit() == BALANCED, audit.out
    mesh.redis.client.hincrby(ONLY.counts, "accepted", -1)
    mesh.redis.client.hincrby(ONLY.counts, "written", -1)
    assert audit() == DIFFERENT, audit.out
    assert f"{stranger}  has rows and is unknown to Redis" in audit.out
    assert audit.number("difference") == 0


def test_a_failed_interaction_without_a_dead_letter_differs(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    mesh.redis.client.zrem(ONLY.dead(INTERACTIONS), recorded.partial)
    assert audit() == DIFFERENT, audit.out
    assert f"{recorded.partial}  1 failed, kept by no dead letter" in audit.out
    assert "Failed is 1 more than the dead letters explain." in audit.out


def test_a_job_that_was_closed_without_an_end_differs(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    job_id = mesh.accept(VERDICT_ACCEPTED)
    mesh.redis.client.hdel(ONLY.open_jobs, job_id)
    assert audit() == DIFFERENT, audit.out
    assert f"{job_id}  neither open nor finished" in audit.out
    assert audit.number("difference") == 1


def test_jobs_without_a_record_are_covered_by_the_totals(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    for job_id in (recorded.whole, recorded.partial):
        mesh.redis.client.hdel(*ONLY.record(job_id))
    assert audit() == BALANCED, audit.out
    assert audit.number("jobs compared") == 0
    mesh.delete_row(f"{recorded.whole}-1")
    assert audit() == DIFFERENT, audit.out
    assert audit.number("jobs that differ") == 0


def test_since_leaves_out_older_jobs(mesh: Mesh, recorded: Recorded, audit: Audit) -> None:
    mesh.delete_row(f"{recorded.whole}-1")
    record = mesh.record(recorded.whole)
    record.accept_time.seconds -= 3600
    mesh.keep(recorded.whole, record)
    assert audit("--since", "30m") == DIFFERENT
    assert audit.number("jobs compared") == 1
    assert audit.number("jobs that differ") == 0
    assert audit("--since", "1d") == DIFFERENT
    assert audit.number("jobs that differ") == 1


def test_rows_that_influxdb_was_told_to_drop_are_not_missed(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    policy = "RETENTION POLICY autogen ON logs DURATION 48h SHARD DURATION 1h"
    mesh.influx.query(f"ALTER {policy}")
    record = mesh.record(recorded.whole)
    record.accept_time.seconds -= 48 * 3600
    mesh.keep(recorded.whole, record)
    mesh.delete_row(f"{recorded.whole}-1")
    assert audit() == BALANCED, audit.out
    assert "dropped after 48 h" in audit.out
    mesh.delete_row(f"{recorded.partial}-0")
    assert audit() == DIFFERENT, audit.out
    assert f"{recorded.partial}  1 of 4 rows missing" in audit.out


def test_a_message_that_comes_again_is_named_when_it_is_old(
    mesh: Mesh, recorded: Recorded, audit: Audit
) -> None:
    client = mesh.redis.client
    client.hset(ONLY.messages(INTERACTIONS), recorded.whole, b"message")
    client.rpush(ONLY.waiting(INTERACTIONS), recorded.whole)
    assert audit() == BALANCED, audit.out
    assert "that are done" not in audit.out
    record = mesh.record(recorded.whole)
    record.end_time.seconds -= 120
    mesh.keep(recorded.whole, record)
    assert audit() == BALANCED, audit.out
    assert f"Messages of jobs that are done: 1, {recorded.whole} among them" in audit.out


def test_twenty_jobs_are_named_and_the_others_counted(mesh: Mesh, audit: Audit) -> None:
    for _ in range(25):
        mesh.accept(VERDICT_ACCEPTED)
    mesh.drain()
    mesh.influx.query("DROP MEASUREMENT interactions")
    assert audit() == DIFFERENT, audit.out
    assert audit.number("jobs that differ") == 25
    assert audit.out.count("1 of 1 rows missing") == 20
    assert "and 5 more jobs" in audit.out


def test_what_does_not_answer_is_named_in_one_line(
    mesh: Mesh, recorded: Recorded, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complaint() -> str:
        assert audit() == UNKNOWN
        assert audit.out == ""
        (line,) = audit.err.splitlines()
        return line

    monkeypatch.setenv("SLUICE_INFLUX_BUCKET", "no-such-bucket")
    assert complaint().startswith("InfluxDB does not answer (QUERY_REFUSED)")
    monkeypatch.delenv("SLUICE_INFLUX_BUCKET")
    monkeypatch.setenv("SLUICE_INFLUX_URL", f"http://127.0.0.1:{free_port()}")
    assert complaint() == "InfluxDB does not answer (UNREACHABLE): Check SLUICE_INFLUX_URL."
    mesh.redis.client.config_set("appendonly", "no")
    try:
        assert "set appendonly yes" in complaint()
    finally:
        mesh.redis.client.config_set("appendonly", "yes")
    monkeypatch.setenv("SLUICE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    line = complaint()
    assert line == "Redis does not answer (ConnectionError): check SLUICE_REDIS_URL."


def test_the_worker_publishes_the_totals(mesh: Mesh, recorded: Recorded) -> None:
    mesh.redis.client.hincrby(ONLY.counts, "accepted", 5)
    mesh.worker.start()

    def metrics() -> list[str]:
        url = f"http://127.0.0.1:{mesh.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return [line for line in answer.read().decode().splitlines() if "sluice_books" in line]

    eventually(lambda: "sluice_books_difference 5.0" in metrics())
    found = metrics()
    for entry, number in {"accepted": 12, "written": 6, "failed": 1, "in_flight": 0}.items():
        assert f'sluice_books{{entry="{entry}"}} {number}.0' in found
