"""Puts the records of Redis and the rows of InfluxDB side by side, job by job.

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
CREATE TABLE row (job TEXT PRIMARY KEY, found BLOB, repeated BLOB) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Found:
    """Which interactions of a job have rows. Both are sets of indexes: bit n stands for index n."""

    once: int = 0
    """Those that have a row at least."""
    again: int = 0
    """Those that have more than one."""

    def add(self, index: int) -> None:
        """Count one row."""
        self.again |= self.once & 1 << index
        self.once |= 1 << index


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
        jobs: dict[str, Found] = {}
        for task_id in task_ids:
            job_id, index = _parsed(task_id)
            if job_id not in jobs:
                jobs[job_id] = self._found(job_id)
            jobs[job_id].add(index)
        self._file.executemany(
            "INSERT OR REPLACE INTO row VALUES (?, ?, ?)",
            ((job_id, _packed(each.once), _packed(each.again)) for job_id, each in jobs.items()),
        )

    def jobs(self) -> Iterator[tuple[str, bytes, Found]]:
        """Yield each job that has a record, with the record and its rows."""
        joined = self._file.execute(
            "SELECT job, bytes, found, repeated FROM record LEFT JOIN row USING (job) ORDER BY job"
        )
        for job_id, record, once, again in joined:
            yield job_id, record, Found(_unpacked(once), _unpacked(again))

    def strangers(self) -> Iterator[str]:
        """Yield each job that has rows and no record."""
        alone = self._file.execute(
            "SELECT job FROM row WHERE job NOT IN (SELECT job FROM record) ORDER BY job"
        )
        for (job_id,) in alone:
            yield job_id

    def _found(self, job_id: str) -> Found:
        known = self._file.execute("SELECT found, repeated FROM row WHERE job = ?", (job_id,))
        return Found(*map(_unpacked, known.fetchone() or (b"", b"")))


def _parsed(task_id: str) -> tuple[str, int]:
    match = TASK_ID.fullmatch(task_id)
    return (match[1], int(match[2])) if match else (task_id, 0)


def _packed(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _unpacked(packed: bytes | None) -> int:
    return int.from_bytes(packed or b"", "little")
