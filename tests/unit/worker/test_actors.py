from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
import redis
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from job_store.keys import WRITE_INTERACTIONS
from job_store.states import Finish, JobState, JobStates
from sluice.job.v1.job_pb2 import (
    JOB_STATE_RETRYING,
    JOB_STATE_SUCCEEDED,
    ItemFailure,
    JobRecord,
    LogInteractions,
)
from sluice.verdict.v1.verdict_pb2 import (
    VERDICT_ACCEPTED,
    VERDICT_REJECTED,
    VERDICT_UNSPECIFIED,
    Verdict,
)
from worker.actors import InteractionLogger
from worker.dramatiq_queue.dead_letter import DeadLetter
from worker.dramatiq_queue.delivery import Delivery
from worker.sinks.sink import Row
from worker.waiting import Breaker, Interrupted, Outage, Stop


class MemorySink:
    """The least that is a sink: it keeps rows by their identity, and refuses some for good."""

    name = "memory"
    up = Gauge("memory_up", "Always.", registry=None)

    def __init__(self, refused: set[str]) -> None:
        self._refused = refused
        self.poison = ""
        """A job whose rows nobody can write."""
        self.outages = 0
        """How many more writes it does not take."""
        self.kept: dict[tuple[str, int], Row] = {}
        self.writes: list[int] = []
        """How many rows each had."""

    def ping(self) -> None:
        """It is always there."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, str]:
        self.writes.append(len(rows))
        if self.outages:
            self.outages -= 1
            raise Outage("DOWN")
        if self.poison and any(row.task_id.startswith(f"{self.poison}-") for row in rows):
            raise ValueError
        refused = {}
        for index, row in enumerate(rows):
            if row.task_id in self._refused:
                refused[index] = "REFUSED"
            else:
                self.kept[row.task_id, row.time_unix_nano] = row
        return refused


class MemoryStates:
    """The states of jobs as Redis keeps them, and the calls that were made."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}
        self.open: set[str] = set()
        self.damaged = ""
        self.calls: list[str] = []
        self.shown: list[set[int]] = []
        """The states that the jobs of each update had."""
        self.failures: list[redis.RedisError] = []
        """What Redis says to the next calls."""

    def add(self, job: LogInteractions) -> None:
        self.records.setdefault(job.job_id, JobRecord())
        self.open.add(job.job_id)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)

    def read(self, job_ids: Sequence[str]) -> list[JobState]:
        self._called("read")
        if self.damaged in job_ids:
            raise DecodeError
        copies = {job_id: JobRecord() for job_id in job_ids}
        for job_id, copy in copies.items():
            copy.CopyFrom(self.records[job_id])
        return [JobState(copies[job_id], job_id in self.open) for job_id in job_ids]

    def update(self, changed: Sequence[tuple[str, JobRecord]]) -> None:
        self._called("update")
        self.shown.append({record.state for _, record in changed})

    def finish(self, finished: Sequence[Finish]) -> list[bool]:
        self._called("finish")
        closed = []
        for job_id, record, _ in finished:
            closed.append(job_id in self.open)
            if job_id in self.open:
                self.open.remove(job_id)
                self.records[job_id] = record
        return closed


def actor(states: MemoryStates, sink: MemorySink, stop: Stop | None = None) -> InteractionLogger:
    stop = stop or Stop()
    return InteractionLogger([cast(JobStates, states)], sink, Breaker(sink.name, stop))


def a_job(job_id: str, verdicts: Sequence[Verdict.ValueType]) -> LogInteractions:
    number = int(job_id.removeprefix("J"))
    job = LogInteractions(job_id=job_id, first_time_unix_micro=1_764_112_345_678_901 + 100 * number)
    for verdict in verdicts:
        job.interactions.add(verdict=verdict)
    return job


def delivered(*jobs: LogInteractions) -> list[Delivery]:
    return [
        Delivery(job.job_id.encode(), WRITE_INTERACTIONS, job.SerializeToString()) for job in jobs
    ]


def ends(deliveries: Sequence[Delivery]) -> list[str]:
    """Return how each delivery ended."""
    told = []
    for each in deliveries:
        assert each.is_ended
        assert each.is_done == (each.error is None)
        error = each.error
        told.append(
            f"{error.reason} {error.failed}"
            if isinstance(error, DeadLetter)
            else type(error).__name__
            if error
            else "done"
        )
    return told


ACCEPTED = [VERDICT_ACCEPTED, VERDICT_ACCEPTED]

VERDICTS = st.sampled_from([VERDICT_ACCEPTED, VERDICT_REJECTED, VERDICT_UNSPECIFIED])


@given(st.data())
def test_each_interaction_is_written_or_refused_and_a_replay_leaves_the_others(
    data: st.DataObject,
) -> None:
    states = MemoryStates()
    jobs, refused, replayed, expected = [], set(), {}, {}
    for number in range(data.draw(st.integers(1, 4))):
        job_id = f"J{number}"
        verdicts = data.draw(st.lists(VERDICTS, min_size=1, max_size=8))
        indexes = st.sets(st.integers(0, len(verdicts) - 1))
        bad, again = data.draw(indexes), data.draw(indexes)
        jobs.append(a_job(job_id, verdicts))
        states.add(jobs[-1])
        failures = [ItemFailure(index=index) for index in sorted(again)]
        states.records[job_id].failures.extend(failures)
        refused |= {f"{job_id}-{index}" for index in bad}
        replayed[job_id] = todo = again or set(range(len(verdicts)))
        unknown = {index for index in todo if verdicts[index] == VERDICT_UNSPECIFIED}
        expected[job_id] = sorted(
            [(index, "VERDICT_UNKNOWN") for index in unknown]
            + [(index, "REFUSED") for index in todo & bad - unknown]
        )
    sink = MemorySink(refused)
    deliveries = delivered(*jobs)
    actor(states, sink)(deliveries)
    for job in jobs:
        record = states.records[job.job_id]
        found = [(each.index, each.error_class) for each in record.failures]
        assert found == expected[job.job_id]
    assert ends(deliveries) == [
        f"{failed[0][1]} {len(failed)}" if failed else "done" for failed in expected.values()
    ]
    assert states.open == set()
    assert {task_id for task_id, _ in sink.kept} == {
        f"{job_id}-{index}"
        for job_id, indexes in replayed.items()
        for index in indexes - {index for index, _ in expected[job_id]}
    }
    # Whatever the jobs hold, Redis and the sink are asked once for all of them.
    assert states.calls == ["read", "update", "finish"]
    assert len(sink.writes) == 1


def test_a_job_delivered_again_leaves_the_same_rows_and_the_same_end() -> None:
    states, sink = MemoryStates(), MemorySink({"J1-1"})
    jobs = [a_job("J0", ACCEPTED), a_job("J1", ACCEPTED)]
    for job in jobs:
        states.add(job)
    write = actor(states, sink)
    first, again = delivered(*jobs), delivered(*jobs)
    write(first)
    rows, records = dict(sink.kept), dict(states.records)
    write(again)
    assert ends(first) == ends(again) == ["done", "REFUSED 1"]
    assert (sink.kept, states.records) == (rows, records)
    assert len(sink.writes) == 1
    # Both deliveries in one batch, which nobody has settled yet.
    states.open = {"J0", "J1"}
    for record in states.records.values():
        record.Clear()
    both = delivered(*jobs, *jobs)
    write(both)
    assert ends(both) == ["done", "REFUSED 1"] * 2
    assert sink.kept == rows


def test_what_is_no_job_ends_alone() -> None:
    states, sink = MemoryStates(), MemorySink(set())
    jobs = [a_job("J0", ACCEPTED), a_job("J1", ACCEPTED)]
    for job in jobs:
        states.add(job)
    deliveries = delivered(*jobs)
    deliveries.insert(1, Delivery(b"noise", WRITE_INTERACTIONS, b"\xff"))
    actor(states, sink)(deliveries)
    assert ends(deliveries) == ["done", "UNDECODABLE 0", "done"]
    assert sink.writes == [4]
    only_noise = [Delivery(b"noise", WRITE_INTERACTIONS, b"\xff")]
    actor(states, sink)(only_noise)
    assert ends(only_noise) == ["UNDECODABLE 0"]


def test_an_error_in_one_job_is_not_noticed_by_the_others() -> None:
    states, sink = MemoryStates(), MemorySink(set())
    jobs = [a_job(f"J{number}", ACCEPTED) for number in range(4)]
    for job in jobs:
        states.add(job)
    sink.poison, states.damaged = "J1", ""
    deliveries = delivered(*jobs)
    actor(states, sink)(deliveries)
    assert ends(deliveries) == ["done", "UNEXPECTED 2", "done", "done"]
    assert {task_id[:2] for task_id, _ in sink.kept} == {"J0", "J2", "J3"}
    assert states.open == set()

    for job in jobs:
        states.add(job)
        states.records[job.job_id].Clear()
    sink.poison, states.damaged = "", "J2"
    deliveries = delivered(*jobs)
    actor(states, sink)(deliveries)
    assert ends(deliveries) == ["done", "done", "DecodeError", "done"]
    assert states.open == {"J2"}


def test_all_wait_for_an_outage_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.waiting.FIRST_WAIT_SECONDS", 0.001)
    states, sink = MemoryStates(), MemorySink(set())
    jobs = [a_job("J0", ACCEPTED), a_job("J1", ACCEPTED)]
    for job in jobs:
        states.add(job)
    sink.outages = 2
    deliveries = delivered(*jobs)
    actor(states, sink)(deliveries)
    assert ends(deliveries) == ["done", "done"]
    assert states.shown[1:] == [{JOB_STATE_RETRYING}] * 2
    assert {(each.attempts, each.state) for each in states.records.values()} == {
        (3, JOB_STATE_SUCCEEDED)
    }


def test_a_stop_leaves_every_job_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    states, sink, stop = MemoryStates(), MemorySink(set()), Stop()
    jobs = [a_job("J0", ACCEPTED), a_job("J1", ACCEPTED)]
    for job in jobs:
        states.add(job)
    sink.outages = 1
    monkeypatch.setattr(states, "update", lambda changed: stop.ask() if sink.writes else None)
    deliveries = delivered(*jobs)
    with pytest.raises(Interrupted):
        actor(states, sink, stop)(deliveries)
    assert not any(each.is_ended for each in deliveries)
    assert states.open == {"J0", "J1"}


def test_a_lost_connection_is_made_anew_once() -> None:
    states, sink = MemoryStates(), MemorySink(set())
    job = a_job("J0", ACCEPTED)
    states.add(job)
    states.failures = [redis.ConnectionError()]
    deliveries = delivered(job)
    actor(states, sink)(deliveries)
    assert ends(deliveries) == ["done"]
    assert states.calls == ["read"] * 2 + ["update", "finish"]


@pytest.mark.parametrize(
    "failures",
    [[redis.ConnectionError()] * 2, [redis.TimeoutError()], [redis.ResponseError("NOREPLICAS")]],
)
def test_no_thread_waits_for_a_partition(failures: list[redis.RedisError]) -> None:
    states, sink = MemoryStates(), MemorySink(set())
    job = a_job("J0", ACCEPTED)
    states.add(job)
    states.failures = list(failures)
    deliveries = delivered(job)
    with pytest.raises(type(failures[0])):
        actor(states, sink)(deliveries)
    assert not deliveries[0].is_ended
    assert states.calls == ["read"] * len(failures)
