from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from sluice.job.v1.job_pb2 import ItemFailure, JobRecord, LogInteractions
from sluice.verdict.v1.verdict_pb2 import (
    VERDICT_ACCEPTED,
    VERDICT_REJECTED,
    VERDICT_UNSPECIFIED,
)
from worker.actors import InteractionLogger
from worker.sinks.sink import Row, Sink
from worker.waiting import Breaker, Stop


class MemorySink:
    """The least that is a sink: it keeps rows by their identity, and refuses some for good."""

    name = "memory"
    up = Gauge("memory_up", "Always.", registry=None)

    def __init__(self, refused: set[str]) -> None:
        self._refused = refused
        self.kept: dict[tuple[str, int], Row] = {}

    def ping(self) -> None:
        """It is always there."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, str]:
        refused = {}
        for index, row in enumerate(rows):
            if row.task_id in self._refused:
                refused[index] = "REFUSED"
            else:
                self.kept[row.task_id, row.time_unix_nano] = row
        return refused


def write(sink: Sink, job: LogInteractions, record: JobRecord) -> list[tuple[int, str]]:
    stop = Stop()
    actor = InteractionLogger(cast(Any, None), sink, Breaker(sink.name, stop), stop)
    return [(each.index, each.error_class) for each in actor._write(job, record)]


VERDICTS = st.sampled_from([VERDICT_ACCEPTED, VERDICT_REJECTED, VERDICT_UNSPECIFIED])


@given(st.data())
def test_each_interaction_is_written_or_refused_and_a_replay_leaves_the_others(
    data: st.DataObject,
) -> None:
    verdicts = data.draw(st.lists(VERDICTS, min_size=1, max_size=20))
    indexes = st.sets(st.integers(0, len(verdicts) - 1))
    refused, replayed = data.draw(indexes), data.draw(indexes)
    job = LogInteractions(job_id="J", first_time_unix_micro=1_764_112_345_678_901)
    for verdict in verdicts:
        job.interactions.add(verdict=verdict)
    record = JobRecord(failures=[ItemFailure(index=index) for index in sorted(replayed)])
    sink = MemorySink({f"J-{index}" for index in refused})
    failures = write(sink, job, record)
    todo = replayed or set(range(len(verdicts)))
    unknown = {index for index in todo if verdicts[index] == VERDICT_UNSPECIFIED}
    assert failures == sorted(
        [(index, "VERDICT_UNKNOWN") for index in unknown]
        + [(index, "REFUSED") for index in todo & refused - unknown]
    )
    kept = {task_id for task_id, _ in sink.kept}
    assert kept == {f"J-{index}" for index in todo - refused - unknown}
    # Delivered again, it leaves the same rows.
    before = dict(sink.kept)
    assert write(sink, job, record) == failures
    assert sink.kept == before
