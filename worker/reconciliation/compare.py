"""Compares the job state in Redis with the rows of the sink while the mesh goes on working.

What moves is left out rather than stopped: a job is compared when it was final before the sink was
read and is unchanged after, and totals are compared with what they were before and after. Redis is
read in pieces; what that leaves in doubt about a job is looked at again, at one moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ulid import ULID

from job_store.counts import Counts, Totals
from job_store.snapshot import CHUNK, GONE, SUSPECTS, UNPLACED, SnapshotReader
from job_store.states import FINAL
from sluice.job.v1.job_pb2 import JobRecord
from worker.reconciliation.ledger import Job, JobRows, Ledger
from worker.reconciliation.moves import Moves
from worker.reconciliation.snapshots import Snapshots
from worker.sinks.sink import Contents, SinkReader

MOST_NAMED = 20
"""Jobs that a report names; the others are counted."""
MOST_TASKS = 3
"""Task ids that are named for one job."""

MARGIN_SECONDS = 3600.0
"""Rows are read from this long before the first job, whose interactions may be older than itself;
should the sink drop old rows, jobs are compared up to this long before it does."""

OLD_SECONDS = 60.0
"""A worker that dies between closing a job and acknowledging its message is found by then."""


@dataclass
class Report:
    """What an audit has found."""

    totals: Totals
    message_states: dict[str, int]
    """How many of the jobs in flight have a message that is waiting, fetched and dead."""
    sink: str
    """What people call the sink."""
    contents: Contents
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
        """Whether everything that was accepted is where the counts say."""
        return not self.complaints and not self.differing

    def name(self, job_id: str, how: str) -> None:
        """Put a job down as one that differs."""
        self.differing += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((job_id, how))


def audit(queue: Snapshots, sink: SinkReader, ledger: Ledger, since: float | None = None) -> Report:
    """Compare everything, job by job where the job's record is left.

    `since` leaves out jobs accepted before then, in seconds since the Unix epoch. Raises
    redis.RedisError, worker.waiting.Outage, and sqlite3.Error when there is no room to compare.
    """
    before = queue.counts()
    contents = sink.contents()
    first = _collect(queue, ledger)
    if first is not None:
        if contents.retention_seconds:
            first = max(first, time.time() - contents.retention_seconds + MARGIN_SECONDS)
        first = max(first, since or 0.0)
        for task_ids in sink.task_ids(first - MARGIN_SECONDS):
            ledger.add_rows(task_ids)
    snapshot = _read_snapshot(queue, ledger)
    states = dict.fromkeys(("waiting", "fetched", "dead"), 0)
    report = Report(snapshot.totals, states, sink.title, contents, first)
    _compare_totals(before, snapshot, report)
    _compare_open(queue, ledger, snapshot, report)
    if first is not None:
        _compare_jobs(queue, ledger, first, report)
        if contents.rows > _most_rows(snapshot):
            _compare_unknown_jobs(queue, ledger, first, report)
    _note_old_messages(snapshot, report)
    return report


def _collect(queue: Snapshots, ledger: Ledger) -> float | None:
    """Take all records into the ledger; return when the first of the jobs was accepted."""
    first: float | None = None
    for records in chain.from_iterable(reader.records() for reader in queue.all):
        ledger.add_records(records)
        for _, record in records:
            accepted = _accepted(JobRecord.FromString(record))
            first = accepted if first is None else min(first, accepted)
    return first


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What Redis holds about unfinished and failed jobs, the jobs themselves in a ledger."""

    totals: Totals
    unexplained: int
    """Failed interactions that no dead letter keeps; below zero, those that are kept and were not
    counted as failed."""
    last_waiting: dict[SnapshotReader, str]
    """The job that waited at the end of each queue when it was read; all before it were seen."""
    deliveries: int
    """Jobs that were done long ago and whose message is still there."""
    delivered_again: str
    """One of them."""


def _read_snapshot(queue: Snapshots, ledger: Ledger) -> Snapshot:
    """Take everything but the records into the ledger, partition by partition.

    In the order in which messages move, so that what moves on meanwhile is met again.
    """
    moves: list[Moves] = []
    totals: list[Totals] = []
    last_waiting: dict[SnapshotReader, str] = {}
    for reader in queue.all:
        moved, total = _read_open(reader, ledger)
        moves.append(moved)
        totals.append(total)
        last_waiting[reader] = _add_waiting(reader, ledger, "")
        for job_ids in reader.fetched():
            ledger.add_messages("fetched", job_ids)
    deliveries, delivered_again = _read_closed(queue, ledger)
    for reader, moved in zip(queue.all, moves, strict=True):
        for letters in reader.dead():
            ledger.add_messages("dead", (job_id for job_id, _ in letters))
            ledger.add_dead_letters(letters)
        moved.see(reader.counts())
    every = Totals.sum(totals)
    unexplained = every.failed - ledger.interactions_in_dead_letters()
    put_back = sum(each.put_back for each in moves)
    unexplained = min(
        max(0, unexplained - put_back), unexplained + sum(each.failed for each in moves)
    )
    return Snapshot(every, unexplained, last_waiting, deliveries, delivered_again)


def _read_open(reader: SnapshotReader, ledger: Ledger) -> tuple[Moves, Totals]:
    """Take the open jobs of a partition; return its totals, and what moved meanwhile."""
    before = ledger.interactions_open()
    pieces = reader.open_jobs()
    counts, jobs = next(pieces)
    moves = Moves(counts)
    ledger.add_open(jobs)
    for counts, jobs in pieces:
        moves.see(counts)
        ledger.add_open(jobs)
    return moves, moves.totals(ledger.interactions_open() - before)


def _add_waiting(reader: SnapshotReader, ledger: Ledger, until: str) -> str:
    """Take the jobs that wait behind one of them, or all, and return the last one now."""
    last = ""
    for job_ids in reader.waiting(until):
        ledger.add_messages("waiting", job_ids)
        last = last or job_ids[0]
    return last


def _read_closed(queue: Snapshots, ledger: Ledger) -> tuple[int, str]:
    """Put down which failures of jobs that are done have a message, to become a dead letter.

    Returns how many of the jobs were done long ago, and one of them: their messages are to be
    acknowledged, or delivered again.
    """
    since = time.time() - OLD_SECONDS
    count, old = 0, ""
    for job_ids in ledger.closed_with_message(CHUNK):
        for job_id, present in zip(job_ids, queue.look_again(job_ids), strict=True):
            if present.is_open or not present.has_message:
                continue
            record = JobRecord.FromString(present.record)
            if record.failures:
                ledger.add_dead_letters([(job_id, len(record.failures))])
            if record.end_time.seconds < since:
                count += 1
                old = old or job_id
    return count, old


def _compare_totals(before: Counts, snapshot: Snapshot, report: Report) -> None:
    totals, rows = snapshot.totals, report.contents.rows
    if totals.difference:
        report.complaints.append(
            f"Accepted is {_more(totals.difference)} than written, failed and in flight together."
        )
    if snapshot.unexplained:
        report.complaints.append(
            f"Failed is {_more(snapshot.unexplained)} than the dead letters explain."
        )
    if (extra := rows - _most_rows(snapshot)) > 0:
        report.complaints.append(f"Rows in {report.sink} are {_more(extra)} than Redis knows of.")
    # Nothing was lost when the sink drops what is old because it was told to.
    if rows < before.written and not report.contents.retention_seconds:
        report.complaints.append(
            f"Rows in {report.sink} are {_more(rows - before.written)} than counted as written."
        )


def _compare_open(queue: Snapshots, ledger: Ledger, snapshot: Snapshot, report: Report) -> None:
    """Name the open jobs whose message is gone, or in no place where a worker would find it."""
    last = dict(snapshot.last_waiting)
    for job_ids in ledger.open_without_message(SUSPECTS):
        for reader, some in queue.divided(job_ids):
            while True:
                waiting, found = reader.look_for(some)
                if len(waiting) < CHUNK or last[reader] in waiting:
                    break
                # More was added than one look shows, among it perhaps what had been fetched.
                last[reader] = _add_waiting(reader, ledger, last[reader])
            _name_lost(
                [
                    job_id
                    for job_id, state in zip(some, found, strict=True)
                    if state == GONE or (state == UNPLACED and not ledger.has_message(job_id))
                ],
                report,
            )
    for job_ids in ledger.open_with_message(CHUNK):
        for reader, some in queue.divided(job_ids):
            _drop_lost(reader, reader.without_message(some), ledger, report)
    report.message_states |= ledger.message_states()


def _drop_lost(
    reader: SnapshotReader, suspects: Sequence[str], ledger: Ledger, report: Report
) -> None:
    """Name those of these jobs that are still open and have no message."""
    for start in range(0, len(suspects), SUSPECTS):
        some = suspects[start : start + SUSPECTS]
        _, found = reader.look_for(some)
        lost = [job_id for job_id, state in zip(some, found, strict=True) if state == GONE]
        ledger.drop_messages(lost)
        _name_lost(lost, report)


def _name_lost(job_ids: Sequence[str], report: Report) -> None:
    for job_id in job_ids:
        report.name(job_id, "open, and its message is gone: nobody will write it")


def _compare_jobs(queue: Snapshots, ledger: Ledger, first: float, report: Report) -> None:
    suspects: list[tuple[str, bytes, str]] = []
    for job in ledger.jobs():
        record = JobRecord.FromString(job.record)
        if _accepted(record) < first:
            continue
        if job.is_open:
            if how := ", ".join(_excess(job.job_id, job.rows, _first_bits(record.size))):
                report.name(job.job_id, how)
            continue
        report.compared += record.state in FINAL
        if how := ", ".join(_differences(job, record)):
            suspects.append((job.job_id, job.record, how))
        if len(suspects) == CHUNK:
            _name_unmoved(queue, suspects, report)
            suspects.clear()
    _name_unmoved(queue, suspects, report)


def _name_unmoved(queue: Snapshots, suspects: list[tuple[str, bytes, str]], report: Report) -> None:
    """Name those suspects that have not moved since their record was read."""
    now = queue.look_again([job_id for job_id, _, _ in suspects])
    for (job_id, stored, how), present in zip(suspects, now, strict=True):
        if present.record == stored and not present.is_open:
            report.name(job_id, how)


def _differences(job: Job, record: JobRecord) -> Iterator[str]:
    """Yield what is wrong with a job that is not open."""
    if record.state not in FINAL:
        yield "neither open nor finished"
        return
    failed = sum(1 << failure.index for failure in record.failures)
    expected = _first_bits(record.size) & ~failed
    if missing := expected & ~job.rows.once:
        missed = _named(job.job_id, missing)
        yield f"{missing.bit_count()} of {record.size} rows missing ({missed})"
    yield from _excess(job.job_id, job.rows, expected)
    if failed and not job.has_dead_letter:
        yield f"{failed.bit_count()} failed, kept by no dead letter"


def _excess(job_id: str, rows: JobRows, expected: int) -> Iterator[str]:
    """Yield what a job has too many rows of."""
    if rows.again:
        yield f"written more than once: {_named(job_id, rows.again)}"
    if strange := rows.once & ~expected:
        yield f"written though not to be: {_named(job_id, strange)}"


def _compare_unknown_jobs(queue: Snapshots, ledger: Ledger, first: float, report: Report) -> None:
    """Name jobs that have rows and are unknown to Redis, though younger than those it knows."""
    suspects: list[str] = []
    for job_id in ledger.unknown_jobs():
        if _made(job_id) > first:
            suspects.append(job_id)
        if len(suspects) == CHUNK:
            _name_unknown_jobs(queue, suspects, report)
            suspects.clear()
    _name_unknown_jobs(queue, suspects, report)


def _name_unknown_jobs(queue: Snapshots, suspects: list[str], report: Report) -> None:
    for job_id, present in zip(suspects, queue.look_again(suspects), strict=True):
        if not present.record and not present.is_open:
            report.name(job_id, "has rows and is unknown to Redis")


def _note_old_messages(snapshot: Snapshot, report: Report) -> None:
    if snapshot.deliveries:
        report.notes.append(
            f"Messages of jobs that are done: {snapshot.deliveries:,}, {snapshot.delivered_again} "
            "among them. They come to a worker again, which changes nothing."
        )


def _most_rows(snapshot: Snapshot) -> int:
    """Return how many rows there may be: of jobs in flight, any number may be written."""
    return snapshot.totals.written + snapshot.totals.in_flight


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
