"""Puts what Redis holds and the rows of the sink side by side, job by job.

Both come in no common order and may be more than memory holds, so they lie in a temporary file of
SQLite. A job costs about a hundred bytes there, however many rows it has.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TASK_ID = re.compile(r"(.+)-(\d{1,5})", re.DOTALL)

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE record (job TEXT PRIMARY KEY, bytes BLOB) WITHOUT ROWID;
CREATE TABLE row (job TEXT PRIMARY KEY, once BLOB, again BLOB) WITHOUT ROWID;
CREATE TABLE open (job TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;
CREATE TABLE message (job TEXT PRIMARY KEY, state TEXT) WITHOUT ROWID;
CREATE TABLE dead_letter (job TEXT PRIMARY KEY, failed INTEGER) WITHOUT ROWID;
BEGIN;
"""

Pages = Iterator[list[str]]


@dataclass(slots=True)
class JobRows:
    """Which interactions of a job have rows. Both are sets of indexes: bit n stands for index n."""

    once: int = 0
    """Those that have a row at least."""
    again: int = 0
    """Those that have more than one."""

    def add(self, index: int) -> None:
        """Count one row."""
        self.again |= self.once & 1 << index
        self.once |= 1 << index


@dataclass(frozen=True, slots=True)
class Job:
    """What is known about one job that has a record."""

    job_id: str
    record: bytes
    rows: JobRows
    is_open: bool
    has_dead_letter: bool
    """Whether a dead letter keeps what failed of it, or is about to."""


class Ledger:
    """One comparison. Every method raises sqlite3.Error when the disk is full."""

    def __init__(self) -> None:
        # Without a name SQLite deletes the file when it is closed, and at the latest when we end.
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.executescript(SCHEMA)

    def close(self) -> None:
        """Delete everything."""
        self._file.close()

    def add_records(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Take records of jobs; of two for one job the latter counts."""
        self._file.executemany("INSERT OR REPLACE INTO record VALUES (?, ?)", records)

    def add_rows(self, task_ids: Iterable[str]) -> None:
        """Take rows, each by its task id. An id that is none of ours is a job of its own."""
        jobs: dict[str, JobRows] = {}
        for task_id in task_ids:
            job_id, index = _parsed(task_id)
            if job_id not in jobs:
                jobs[job_id] = self._rows_of(job_id)
            jobs[job_id].add(index)
        self._file.executemany(
            "INSERT OR REPLACE INTO row VALUES (?, ?, ?)",
            ((job_id, _packed(each.once), _packed(each.again)) for job_id, each in jobs.items()),
        )

    def add_open(self, jobs: Iterable[tuple[str, int]]) -> None:
        """Take jobs that are not done, each with its open interactions."""
        self._file.executemany("INSERT OR REPLACE INTO open VALUES (?, ?)", jobs)

    def add_messages(self, state: str, job_ids: Iterable[str]) -> None:
        """Take jobs whose message is "waiting", "fetched" or "dead"; for a job the first counts."""
        self._file.executemany(
            "INSERT OR IGNORE INTO message VALUES (?, ?)", ((job_id, state) for job_id in job_ids)
        )

    def drop_messages(self, job_ids: Iterable[str]) -> None:
        """Forget the messages of these jobs."""
        self._file.executemany(
            "DELETE FROM message WHERE job = ?", ((job_id,) for job_id in job_ids)
        )

    def has_message(self, job_id: str) -> bool:
        """Return whether a job has its message somewhere."""
        found = self._file.execute("SELECT 1 FROM message WHERE job = ?", (job_id,))
        return found.fetchone() is not None

    def add_dead_letters(self, jobs: Iterable[tuple[str, int]]) -> None:
        """Take jobs that have failed interactions which a dead letter keeps or is about to."""
        self._file.executemany("INSERT OR REPLACE INTO dead_letter VALUES (?, ?)", jobs)

    def jobs(self) -> Iterator[Job]:
        """Yield each job that has a record."""
        joined = self._file.execute(
            "SELECT job, bytes, once, again, size, failed FROM record LEFT JOIN row USING (job)"
            " LEFT JOIN open USING (job) LEFT JOIN dead_letter USING (job) ORDER BY job"
        )
        for job_id, record, once, again, size, failed in joined:
            rows = JobRows(_unpacked(once), _unpacked(again))
            yield Job(job_id, record, rows, size is not None, failed is not None)

    def unknown_jobs(self) -> Iterator[str]:
        """Yield each job that has rows and no record, and is not open."""
        alone = self._file.execute(
            "SELECT job FROM row WHERE job NOT IN (SELECT job FROM record)"
            " AND job NOT IN (SELECT job FROM open) ORDER BY job"
        )
        for (job_id,) in alone:
            yield job_id

    def interactions_open(self) -> int:
        """Return how many interactions of all jobs are open."""
        return self._number("SELECT total(size) FROM open")

    def interactions_in_dead_letters(self) -> int:
        """Return how many failed interactions dead letters keep."""
        return self._number("SELECT total(failed) FROM dead_letter")

    def message_states(self) -> dict[str, int]:
        """Return for each state how many open jobs have a message in it."""
        return dict(
            self._file.execute(
                "SELECT state, count(*) FROM open JOIN message USING (job) GROUP BY state"
            )
        )

    def closed_with_message(self, most: int) -> Pages:
        """Yield the jobs that are not open and have a message somewhere, so many at a time."""
        return self._paged(
            "SELECT job FROM message WHERE job > ? AND job NOT IN (SELECT job FROM open)", most
        )

    def open_with_message(self, most: int) -> Pages:
        """Yield the open jobs whose message waits or is fetched, so many at a time."""
        return self._paged(
            "SELECT job FROM open JOIN message USING (job) WHERE job > ? AND state != 'dead'", most
        )

    def open_without_message(self, most: int) -> Pages:
        """Yield the open jobs whose message is nowhere, so many at a time."""
        return self._paged(
            "SELECT job FROM open LEFT JOIN message USING (job) WHERE job > ? AND state IS NULL",
            most,
        )

    def _paged(self, query: str, most: int) -> Pages:
        """Yield what a query finds, page by page, so that more may be taken in between."""
        last = ""
        while True:
            found = self._file.execute(f"{query} ORDER BY job LIMIT ?", (last, most))
            page = [job_id for (job_id,) in found]
            if not page:
                return
            yield page
            last = page[-1]

    def _number(self, query: str) -> int:
        (number,) = self._file.execute(query).fetchone()
        return int(number)

    def _rows_of(self, job_id: str) -> JobRows:
        known = self._file.execute("SELECT once, again FROM row WHERE job = ?", (job_id,))
        return JobRows(*map(_unpacked, known.fetchone() or (b"", b"")))


def _parsed(task_id: str) -> tuple[str, int]:
    match = TASK_ID.fullmatch(task_id)
    return (match[1], int(match[2])) if match else (task_id, 0)


def _packed(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _unpacked(packed: bytes | None) -> int:
    return int.from_bytes(packed or b"", "little")
