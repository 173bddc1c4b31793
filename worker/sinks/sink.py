"""What the worker asks of a sink, the store that interactions are written to.

A further sink is a package beside `influxdb`, its settings in worker/settings.py, and one line each
in worker/process.py (`Sink`) and worker/reconciliation/__main__.py (`SinkReader`). It has to bring:

- Writes that may be repeated. A row is identified by its task id and its time, which are the same
  in every delivery of a job, and writing it again leaves one row with the same content.
- Refusals for good, told row by row and apart from outages. A row that is refused becomes part of
  a dead letter, and one that waits for an outage to end is never given up.
- A check that finds out before the first job whether rows can be written.
- A reader that counts rows and lists their task ids, so that `make audit` can compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from prometheus_client import Gauge

from sluice.job.v1.job_pb2 import Interaction, LogInteractions
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED, Verdict

VERDICT_NAMES: dict[Verdict.ValueType, str] = {
    VERDICT_ACCEPTED: "accepted",
    VERDICT_REJECTED: "rejected",
}
"""The verdicts that a row may have, as sinks and the log write them."""


class Row(NamedTuple):
    """One interaction with its identity."""

    task_id: str
    time_unix_nano: int
    interaction: Interaction


def rows(job: LogInteractions, indexes: Iterable[int]) -> list[Row]:
    """Return these interactions of a job.

    They are a microsecond apart; in a job of an earlier version each has a time of its own. Each
    partition assigns times by itself, so its number is the nanoseconds of them.
    """
    interactions, names = list(job.interactions), task_ids(job)
    if not job.first_time_unix_micro:
        return [
            Row(names[index], interactions[index].time_unix_nano, interactions[index])
            for index in indexes
        ]
    first = job.first_time_unix_micro * 1000 + job.partition
    return [Row(names[index], first + index * 1000, interactions[index]) for index in indexes]


def task_ids(job: LogInteractions) -> list[str]:
    """Return the task id of each interaction of a job."""
    job_id = job.job_id
    return [f"{job_id}-{index}" for index in range(len(job.interactions))]


class Sink(Protocol):
    """Writes rows. Safe to use from several threads."""

    name: str
    """The name of its health service, and its name in the log."""
    up: Gauge
    """Set to whether it answers and takes writes."""

    def ping(self) -> None:
        """Check that it answers and may be written. Raises worker.waiting.Outage."""

    def write(self, rows: Sequence[Row]) -> Mapping[int, str]:
        """Write rows whose verdicts are in VERDICT_NAMES. May be repeated.

        Returns the index (in `rows`) and the UPPER_SNAKE_CASE error class of each row that the
        sink refuses for good; all others are written. Raises worker.waiting.Outage when it cannot
        take them now; some of them may be written by then.
        """


@dataclass(frozen=True, slots=True)
class Contents:
    """How much a sink holds."""

    rows: int
    retention_seconds: int
    """How long it keeps a row; 0 is for ever."""


class SinkReader(Protocol):
    """Reads what a sink holds. Every method raises worker.waiting.Outage."""

    title: str
    """The sink's name in what people read."""

    def contents(self) -> Contents:
        """Return how many rows there are, and for how long they are kept."""

    def task_ids(self, since: float) -> Iterator[list[str]]:
        """Yield the task id of every row since then (seconds since the Unix epoch), in pieces."""
