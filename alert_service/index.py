"""An index of the reports in SQLite, to list and find them without reading them all.

The files are what counts: the index is synchronized with them whenever the directory is opened, and
made anew when it is missing, damaged or of another version. It holds no payload.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from alert_service.names import ReportKey
from alert_service.validation import is_name
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert

log = logger("alert.index")

NAME = ".index.sqlite"
VERSION = 2

# With a write-ahead log, readers and the writer do not wait for each other. Synchronous NORMAL
# leaves the database whole whatever happens; a crash of the machine may take the last rows, and
# opening puts them back from the files. So no alert waits for the index's disk.
_SETUP = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS reports (
  moment INTEGER NOT NULL,
  at_edge INTEGER NOT NULL,
  size INTEGER NOT NULL,
  written INTEGER NOT NULL,
  alert_id TEXT,
  event_type TEXT,
  source TEXT,
  detectors TEXT,
  PRIMARY KEY (moment, at_edge)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reports_by_alert_id ON reports (alert_id);
CREATE INDEX IF NOT EXISTS reports_by_age ON reports (at_edge, written);
"""


_NEWEST_FIRST = "ORDER BY moment DESC, at_edge DESC LIMIT ?"


class Row(NamedTuple):
    """One report in the index; one that somebody has changed and cannot be read has no alert.

    `written` is when its file was written, in microseconds since 1970.
    """

    key: ReportKey
    size: int
    written: int
    alert: Alert | None


class Total(NamedTuple):
    """How many reports there are, and their bytes."""

    reports: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts to list: those that fulfil all conditions given. Times are moments."""

    event_type: str = ""
    detector: str = ""
    source: str = ""
    start: int | None = None
    end: int | None = None


class Index:
    """The open index of a directory. Thread-safe. Every method raises sqlite3.Error."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        if not self._is_usable():
            for path in self._files():
                path.unlink(missing_ok=True)
        # SQLite gives its other files the mode of this one.
        os.close(os.open(self._path, os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._writer, self._reader = self._connect(), self._connect()
        weakref.finalize(self, _close, self._reader, self._writer)
        self._writer.executescript(f"{_SETUP} PRAGMA user_version = {VERSION};")
        self._totals = {
            at_edge: Total(
                *self._writer.execute(
                    "SELECT count(*), ifnull(sum(size), 0) FROM reports WHERE at_edge = ?",
                    (at_edge,),
                ).fetchone()
            )
            for at_edge in (False, True)
        }

    def close(self) -> None:
        """Close the index; who still uses it gets an error."""
        with self._write_lock, self._read_lock:
            _close(self._reader, self._writer)

    def sizes(self) -> Mapping[ReportKey, int]:
        """Return the size of every report in bytes."""
        with self._write_lock:
            rows = self._writer.execute("SELECT moment, at_edge, size FROM reports").fetchall()
        return {ReportKey(moment, bool(at_edge)): size for moment, at_edge, size in rows}

    def find(self, alert_id: str) -> ReportKey | None:
        """Return the key of the report of an alert, None when there is none."""
        with self._write_lock:
            row = self._writer.execute(
                "SELECT moment, at_edge FROM reports WHERE alert_id = ? ORDER BY moment LIMIT 1",
                (alert_id,),
            ).fetchone()
        return None if row is None else ReportKey(row[0], bool(row[1]))

    def has(self, key: ReportKey) -> bool:
        """Return whether there is a report with this key."""
        with self._write_lock:
            return self._size(key) is not None

    def total(self, at_edge: bool) -> Total:
        """Return how many reports there are in one of the directories."""
        return self._totals[at_edge]

    def add(self, rows: Iterable[Row]) -> None:
        """Add reports, in one step; rows with the same key are replaced."""
        with self._write_lock, self._writer:
            for row in rows:
                self._delete(row.key)
                self._writer.execute(
                    "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _values(row)
                )
                self._count(row.key, 1, row.size)

    def remove(self, keys: Iterable[ReportKey]) -> None:
        """Remove reports, in one step."""
        with self._write_lock, self._writer:
            for key in keys:
                self._delete(key)

    def before(self, key: ReportKey | None, most: int, wanted: Filter) -> Sequence[ReportKey]:
        """Return up to `most` wanted keys before `key`, or the last ones, newest first."""
        where, values = _where(wanted)
        if key is not None:
            where.append("(moment, at_edge) < (?, ?)")
            values += key
        tests = " AND ".join(where)
        # Of what a caller sent, nothing is in the text of the query.
        query = f"SELECT moment, at_edge FROM reports WHERE {tests} {_NEWEST_FIRST}"  # noqa: S608
        with self._read_lock:
            rows = self._reader.execute(query, (*values, most)).fetchall()
        return [ReportKey(moment, bool(at_edge)) for moment, at_edge in rows]

    def oldest(self, at_edge: bool, before: int | None, most: int) -> Sequence[ReportKey]:
        """Return up to `most` keys of reports, those written first, before a time when given.

        An alert may be about something that happened long before it came.
        """
        end = 2**63 - 1 if before is None else before
        with self._write_lock:
            rows = self._writer.execute(
                "SELECT moment FROM reports WHERE at_edge = ? AND written < ? "
                "ORDER BY written LIMIT ?",
                (at_edge, end, most),
            ).fetchall()
        return [ReportKey(moment, at_edge) for (moment,) in rows]

    def _size(self, key: ReportKey) -> int | None:
        row = self._writer.execute(
            "SELECT size FROM reports WHERE moment = ? AND at_edge = ?", key
        ).fetchone()
        return None if row is None else int(row[0])

    def _delete(self, key: ReportKey) -> None:
        size = self._size(key)
        if size is not None:
            self._writer.execute("DELETE FROM reports WHERE moment = ? AND at_edge = ?", key)
            self._count(key, -1, -size)

    def _count(self, key: ReportKey, count: int, size: int) -> None:
        total = self._totals[key.at_edge]
        self._totals[key.at_edge] = Total(total.reports + count, total.bytes + size)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, check_same_thread=False, isolation_level="IMMEDIATE")

    def _files(self) -> list[Path]:
        return [self._path.with_name(NAME + suffix) for suffix in ("", "-wal", "-shm")]

    def _is_usable(self) -> bool:
        """Return whether there is an index, whole and of this version, and nothing is a link."""
        if any(path.is_symlink() for path in self._files()) or not self._path.exists():
            return False
        try:
            with closing(self._connect()) as database:
                (version,) = database.execute("PRAGMA user_version").fetchone()
                (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            version, verdict = None, type(error).__name__
        if (version, verdict) == (VERSION, "ok"):
            return True
        log.warning("index made anew", version=version, verdict=str(verdict)[:80])
        return False


def _close(*databases: sqlite3.Connection) -> None:
    for database in databases:
        database.close()


def _values(row: Row) -> tuple[Any, ...]:
    alert = row.alert
    if alert is None:
        return (*row.key, row.size, row.written, None, None, None, None)
    found = {*alert.detectors, *[each.detector for each in alert.findings]}
    detectors = filter(is_name, found)
    return (
        *(*row.key, row.size, row.written, alert.alert_id, alert.event_type, alert.source),
        # Each name between two spaces, which no name holds.
        f" {' '.join(sorted(detectors))} ",
    )


def _where(wanted: Filter) -> tuple[list[str], list[Any]]:
    tests = [
        ("event_type = ?", wanted.event_type or None),
        ("source = ?", wanted.source or None),
        ("instr(detectors, ?) > 0", f" {wanted.detector} " if wanted.detector else None),
        ("moment >= ?", wanted.start),
        ("moment < ?", wanted.end),
    ]
    given = [(test, value) for test, value in tests if value is not None]
    return ["alert_id IS NOT NULL", *(test for test, _ in given)], [value for _, value in given]
