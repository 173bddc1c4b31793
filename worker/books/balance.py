"""Compares the books of Redis with the rows of InfluxDB while the mesh goes on working.

What moves is left out rather than stopped: a job is compared when it was final before InfluxDB was
read and is unchanged after, and totals are compared with what they were before and after.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ulid import ULID

from sluice.job.v1.job_pb2 import JobRecord
from worker.books.ledger import Found, Ledger
from worker.books.queued import CHUNK, Queued, QueueReader
from worker.books.rows import Kept, Rows
from worker.books.totals import Totals
from worker.records import FINAL

MOST_NAMED = 20
"""Jobs that a report names; the others are counted."""
MOST_TASKS = 3
"""Task ids that are named for one job."""

MARGIN_SECONDS = 3600.0
"""Rows are read from this long before the first job, whose interactions may be older than itself;
should InfluxDB drop old rows, jobs are compared up to this long before it does."""

OLD_SECONDS = 60.0
"""A worker that dies between closing a job and acknowledging its message is found by then."""


@dataclass
class Report:
    """What an audit has found."""

    totals: Totals
    places: dict[str, int]
    """Where the messages of the jobs in flight are, in jobs."""
    kept: Kept
    since: float | None
    """Jobs accepted since then were compared; None when no record is left."""
    compared: int = 0
    differing: int = 0
    """Jobs that differ."""
    named: list[tuple[str, str]] = field(default_factory=list)
    """Some of them: job id, and how it differs."""
    complaints: list[str] = field(default_factory=list)
    """Totals that do not add up."""
    notes: list[str] = field(default_factory=list)
    """What is in order, but worth a look."""

    @property
    def is_balanced(self) -> bool:
        """Whether everything that was accepted is where the books say."""
        return not self.complaints and not self.differing

    def name(self, job_id: str, how: str) -> None:
        """Put a job down as one that differs."""
        self.differing += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((job_id, how))


def audit(queue: QueueReader, rows: Rows, ledger: Ledger, since: float | None = None) -> Report:
    """Compare everything, job by job where the job's record is left.

    `since` leaves out jobs accepted before then, in seconds since the Unix epoch. Raises
    redis.RedisError, worker.waiting.Outage, and sqlite3.Error when there is no room to compare.
    """
    before = queue.read()
    kept = rows.kept()
    first = _collect(queue, ledger)
    if first is not None:
        if kept.seconds:
            first = max(first, time.time() - kept.seconds + MARGIN_SECONDS)
        first = max(first, since or 0.0)
        for task_ids in rows.task_ids(first - MARGIN_SECONDS):
            ledger.add_rows(task_ids)
    after = queue.read()
    places = dict.fromkeys(("waiting", "fetched", "dead"), 0)
    report = Report(after.totals, places, kept, first)
    _compare_totals(before, after, report)
    _compare_open(after, report)
    if first is not None:
        _compare_jobs(queue, ledger, before, after, first, report)
        if kept.rows > _most_rows(after):
            _name_strangers(queue, ledger, after, first, report)
    _note_old_messages(after, report)
    return report


def _collect(queue: QueueReader, ledger: Ledger) -> float | None:
    """Take all records into the ledger; return when the first of the jobs was accepted."""
    first: float | None = None
    for records in queue.records():
        ledger.add_records(records)
        for _, record in records:
            accepted = _accepted(JobRecord.FromString(record))
            first = accepted if first is None else min(first, accepted)
    return first


def _compare_totals(before: Queued, after: Queued, report: Report) -> None:
    totals, rows = after.totals, report.kept.rows
    if totals.difference:
        report.complaints.append(
            f"Accepted is {_more(totals.difference)} than written, failed and in flight together."
        )
    if totals.failed != after.explained:
        report.complaints.append(
            f"Failed is {_more(totals.failed - after.explained)} than the dead letters explain."
        )
    if rows > _most_rows(after):
        report.complaints.append(
            f"Rows in InfluxDB are {_more(rows - _most_rows(after))} than the books know of."
        )
    # Nothing was lost when InfluxDB drops what is old because it was told to.
    if rows < before.totals.written and not report.kept.seconds:
        report.complaints.append(
            f"Rows in InfluxDB are {_more(rows - before.totals.written)} than booked as written."
        )


def _compare_open(after: Queued, report: Report) -> None:
    for job_id in after.open:
        if place := after.place(job_id):
            report.places[place] += 1
        else:
            report.name(job_id, "open, and its message is gone: nobody will write it")


def _compare_jobs(
    queue: QueueReader, ledger: Ledger, before: Queued, after: Queued, first: float, report: Report
) -> None:
    suspects: list[tuple[str, bytes, str]] = []
    for job_id, stored, found in ledger.jobs():
        record = JobRecord.FromString(stored)
        if _accepted(record) < first:
            continue
        if job_id in before.open or job_id in after.open:
            if how := ", ".join(_excess(job_id, found, _first_bits(record.size))):
                report.name(job_id, how)
            continue
        report.compared += record.state in FINAL
        if how := ", ".join(_misfits(job_id, record, found, after)):
            suspects.append((job_id, stored, how))
        if len(suspects) == CHUNK:
            _convict(queue, suspects, report)
            suspects.clear()
    _convict(queue, suspects, report)


def _convict(queue: QueueReader, suspects: list[tuple[str, bytes, str]], report: Report) -> None:
    """Name those suspects that have not moved since their record was read."""
    now = queue.look_again([job_id for job_id, _, _ in suspects])
    for (job_id, stored, how), present in zip(suspects, now, strict=True):
        if present.record == stored and not present.is_open:
            report.name(job_id, how)


def _misfits(job_id: str, record: JobRecord, found: Found, after: Queued) -> Iterator[str]:
    """Yield what is wrong with a job that is not open."""
    if record.state not in FINAL:
        yield "neither open nor finished"
        return
    failed = sum(1 << failure.index for failure in record.failures)
    expected = _first_bits(record.size) & ~failed
    if missing := expected & ~found.once:
        yield f"{missing.bit_count()} of {record.size} rows missing ({_named(job_id, missing)})"
    yield from _excess(job_id, found, expected)
    if failed and job_id not in after.dead and job_id not in after.closed:
        yield f"{failed.bit_count()} failed, kept by no dead letter"


def _excess(job_id: str, found: Found, expected: int) -> Iterator[str]:
    """Yield what a job has too many rows of."""
    if found.again:
        yield f"written more than once: {_named(job_id, found.again)}"
    if strange := found.once & ~expected:
        yield f"written though not to be: {_named(job_id, strange)}"


def _name_strangers(
    queue: QueueReader, ledger: Ledger, after: Queued, first: float, report: Report
) -> None:
    """Name jobs that have rows and are not in the books, though younger than those that are."""
    suspects: list[str] = []
    for job_id in ledger.strangers():
        if job_id not in after.open and _made(job_id) > first:
            suspects.append(job_id)
        if len(suspects) == CHUNK:
            _convict_strangers(queue, suspects, report)
            suspects.clear()
    _convict_strangers(queue, suspects, report)


def _convict_strangers(queue: QueueReader, suspects: list[str], report: Report) -> None:
    for job_id, present in zip(suspects, queue.look_again(suspects), strict=True):
        if not present.record and not present.is_open:
            report.name(job_id, "has rows and is not in the books")


def _note_old_messages(after: Queued, report: Report) -> None:
    since = time.time() - OLD_SECONDS
    old = sorted(
        job_id for job_id, record in after.closed.items() if record.end_time.seconds < since
    )
    if old:
        report.notes.append(
            f"Messages of jobs that are done: {len(old):,}, {old[0]} among them. They come to a "
            "worker again, which changes nothing."
        )


def _most_rows(after: Queued) -> int:
    """Return how many rows there may be: of jobs in flight, any number may be written."""
    return after.totals.written + after.totals.in_flight


def _accepted(record: JobRecord) -> float:
    return record.accept_time.seconds + record.accept_time.nanos / 1e9


def _made(job_id: str) -> float:
    """Return when a job id was made, 0 for what is none."""
    try:
        return float(ULID.from_str(job_id).timestamp)
    except ValueError:
        return 0.0


def _first_bits(count: int) -> int:
    return (1 << count) - 1


def _named(job_id: str, indexes: int) -> str:
    """Return the task ids of the first indexes of a set."""
    names: list[str] = []
    while indexes and len(names) < MOST_TASKS:
        lowest = indexes & -indexes
        names.append(f"{job_id}-{lowest.bit_length() - 1}")
        indexes ^= lowest
    return ", ".join(names) + (", ..." if indexes else "")


def _more(number: int) -> str:
    return f"{abs(number):,} {'more' if number > 0 else 'less'}"
