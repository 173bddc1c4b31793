"""The store of reports: one file for every alert, whole or not there at all.

A report is written in steps:

1. `.<alert_id>.tmp` with the content, durable;
2. the report itself, as a second name of that file, which replaces nothing;
3. the first name goes, and the names are made durable;
4. the report is added to the index.

A process that dies before step 2 leaves a temporary file, which is removed when the directory is
opened; nobody was told of that alert. After it, the report is whole, and the index is synchronized
with the files before anything is answered. Removing a report file forgets the alert, and no other
copy of its payload remains.

Reports about requests that the gateway refused lie in a directory of their own, with limits of
their own: there, the oldest are removed for new ones.
"""

from __future__ import annotations

import errno
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from alert_service import names
from alert_service.index import Filter, Row, Total
from alert_service.names import ReportKey
from alert_service.report_files import TEMPORARY, ReportFiles, now
from alert_service.text import to_text, with_alert
from mesh.health import Unhealthy
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert, Report

log = logger("alert.report_store")

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""A page of alerts has to fit into one message."""

RECOUNT_SECONDS = 5.0
SWEEP_STEP = 100
"""Reports that are removed in one step of a sweep."""

_DAY_MICROSECONDS = 86_400_000_000
_LOCKS = 64
_ALL = Filter()


class StoreFull(Exception):
    """The store holds as many reports as it may."""


class StoreClosed(OSError):
    """The directory could not be opened yet."""


class Limits(NamedTuple):
    """How many reports are kept, how many bytes of them, and for how many days; 0: for ever."""

    reports: int
    bytes: int
    days: int


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The name of the report that an alert has, and whether this very call has written it.

    `removed` are the names of the reports that were removed to make space for it.
    """

    name: str
    is_new: bool
    removed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some alerts, newest first, and the report that the next page starts before, if any."""

    alerts: list[Alert]
    next: ReportKey | None


class ReportStore:
    """Writes reports into a directory and reads alerts back. Blocks; may be used by threads.

    Nothing works until probe() has succeeded once: it opens the directory, which only one process
    may hold. `edge_limits` are for reports about requests that the gateway refused.
    """

    def __init__(self, path: Path, limits: Limits, edge_limits: Limits) -> None:
        self._path = path
        self._limits = {False: limits, True: edge_limits}
        self._files: ReportFiles | None = None
        self._index_failed = False
        self._opening = threading.Lock()
        self._alert_locks = [threading.Lock() for _ in range(_LOCKS)]
        self._capacity_lock = threading.RLock()
        """Held while space is reserved and while the index changes with it."""
        self._reserved: dict[ReportKey, int] = {}
        self._unsure: set[str] = set()
        """Alerts whose report may be there without being durable or in the index."""
        self._synchronized = 0.0

    @property
    def is_open(self) -> bool:
        """Whether reports can be written."""
        return self._files is not None

    def count(self, at_edge: bool = False) -> int:
        """Return how many reports are kept."""
        return self._total(at_edge).reports

    def total_bytes(self, at_edge: bool = False) -> int:
        """Return how many bytes they take."""
        return self._total(at_edge).bytes

    def share(self, at_edge: bool = False) -> float:
        """Return how much of the space for reports is taken, from 0 to 1."""
        limits = self._limits[at_edge]
        return max(self.count(at_edge) / limits.reports, self.total_bytes(at_edge) / limits.bytes)

    @property
    def hmac_key(self) -> bytes:
        """The secret of this directory, made when it was first opened. Raises StoreClosed."""
        return self._opened().hmac_key

    def probe(self) -> None:
        """Check that a report could be written now; open the directory when that is to be done.

        Raises Unhealthy.
        """
        if not self._opening.acquire(blocking=False):
            raise Unhealthy("the directory of the reports is still being read")
        try:
            files = self._files
            if files is None or self._index_failed or not files.is_in_place():
                if files is not None:
                    self._files = None
                    files.close()
                files = ReportFiles(self._path)
                self._index_failed = False
                self._synchronized = time.monotonic()
                self._files = files
            if self._unsure:
                self._synchronize(files)
                self._unsure.clear()
            files.check_writable()
        except OSError as error:
            raise Unhealthy(f"no report can be written: {error_name(error)}") from None
        except sqlite3.Error as error:
            raise Unhealthy(f"the index cannot be used: {type(error).__name__}") from None
        finally:
            self._opening.release()

    def write(self, report: Report, at_edge: bool = False) -> WriteResult:
        """Return when the report is on disk; its alert has a valid id and a namable time.

        Idempotent: of several reports with one alert id the first is kept. Raises StoreFull or
        OSError; the call may be repeated after either.
        """
        files = self._opened()
        alert_id = report.alert.alert_id
        with self._lock_of(alert_id), self._using_index():
            is_unsure = alert_id in self._unsure
            if is_unsure:
                self._synchronize(files)
            while (existing := files.index.find(alert_id)) is not None:
                if files.exists(existing):
                    self._unsure.discard(alert_id)
                    return WriteResult(existing.name, is_new=is_unsure)
                files.index.remove([existing])
            return self._write(files, report, at_edge)

    def rewrite(self, alert: Alert) -> None:
        """Replace the alert in its report, which is there.

        A crash leaves the old or the new one. Raises OSError.
        """
        files = self._opened()
        key = names.parse_name(alert.report)
        assert key is not None  # noqa: S101
        directory = files.directory(key)
        temporary = f".{alert.alert_id}{TEMPORARY}"
        with self._lock_of(alert.alert_id), self._using_index():
            text = with_alert(directory.read(key.file_name), alert)
            directory.remove(temporary)
            directory.create(temporary, text)
            directory.replace(temporary, key.file_name)
            with self._capacity_lock:
                files.index.add([Row(key, len(text), now(), alert)])

    def read(self, alert_id: str) -> Alert | None:
        """Return the alert of this id, or None when there is none.

        Raises UnreadableReport when its file was changed by somebody, OSError.
        """
        files = self._opened()
        with self._using_index():
            key = files.index.find(alert_id)
            if key is None:
                return None
            try:
                alert = files.read(key)
            except FileNotFoundError:
                files.index.remove([key])
                return None
        return alert if alert.alert_id == alert_id else None

    def page(self, most: int, before: ReportKey | None = None, wanted: Filter = _ALL) -> Page:
        """Return up to `most` wanted alerts older than `before`, or the newest ones.

        Reads no more files than it returns alerts, save those that were removed or changed by
        somebody. Raises OSError.
        """
        files = self._opened()
        alerts: list[Alert] = []
        left_bytes = MAX_PAGE_BYTES
        last = None
        with self._using_index():
            while True:
                # One more, to see whether there is a next page.
                keys = files.index.before(before, most - len(alerts) + 1, wanted)
                for before in keys:
                    if len(alerts) == most:
                        return Page(alerts, last)
                    alert = files.read_if_intact(before)
                    if alert is None:
                        continue
                    left_bytes -= alert.ByteSize()
                    if alerts and left_bytes < 0:
                        return Page(alerts, last)
                    alerts.append(alert)
                    last = before
                if not keys:
                    return Page(alerts, None)

    def sweep(self) -> int:
        """Remove some reports that were written longer ago than they may be; return how many.

        Raises OSError.
        """
        files = self._opened()
        removed = 0
        with self._using_index():
            for at_edge, limits in self._limits.items():
                if limits.days:
                    end = now() - limits.days * _DAY_MICROSECONDS
                    removed += len(files.remove_oldest(at_edge, end, SWEEP_STEP))
        return removed

    def _total(self, at_edge: bool) -> Total:
        files = self._files
        return files.index.total(at_edge) if files else Total(0, 0)

    def _opened(self) -> ReportFiles:
        files = self._files
        if files is None:
            raise StoreClosed(errno.ENOTCONN, "the directory of the reports is not open")
        return files

    def _lock_of(self, alert_id: str) -> threading.Lock:
        return self._alert_locks[hash(alert_id) % _LOCKS]

    @contextmanager
    def _using_index(self) -> Iterator[None]:
        """Turn an error of the index into OSError, and have the index opened anew."""
        try:
            yield
        except sqlite3.Error as error:
            self._index_failed = True
            log.error("index failed", reason=type(error).__name__)
            raise OSError(errno.EIO, "the index of the reports failed") from None

    def _write(self, files: ReportFiles, report: Report, at_edge: bool) -> WriteResult:
        wanted = ReportKey(names.moment_of(report.alert.raise_time), at_edge)
        removed: list[str] = []
        while True:
            text = _text(report, wanted)
            key = self._reserve(files, wanted, len(text), removed)
            try:
                if key != wanted:
                    text = _text(report, key)
                self._put(files, key, report.alert.alert_id, text)
                with self._capacity_lock:
                    files.index.add([Row(key, len(text), now(), report.alert)])
                self._unsure.discard(report.alert.alert_id)
                return WriteResult(key.name, True, removed)
            except FileExistsError:
                # Somebody has put something here that we did not know of. It stays.
                wanted = ReportKey(key.moment + 1, at_edge)
            finally:
                with self._capacity_lock:
                    self._reserved.pop(key, None)

    def _put(self, files: ReportFiles, key: ReportKey, alert_id: str, text: bytes) -> None:
        """Take steps 1 to 3. Raises FileExistsError when the report's name is taken, OSError."""
        directory = files.directory(key)
        temporary = f".{alert_id}{TEMPORARY}"
        try:
            directory.remove(temporary)
            directory.create(temporary, text)
            self._unsure.add(alert_id)
            directory.link(temporary, key.file_name)
        except OSError:
            # What cannot be removed now is removed later.
            with suppress(OSError):
                directory.remove(temporary)
            raise
        directory.remove(temporary)
        directory.sync()

    def _reserve(
        self, files: ReportFiles, key: ReportKey, size: int, removed: list[str]
    ) -> ReportKey:
        """Reserve the first free key from `key` on for `size` bytes. Raises StoreFull.

        The names of reports that are removed for it are added to `removed`.
        """
        limits = self._limits[key.at_edge]
        with self._capacity_lock:
            while True:
                reserved = [n for each, n in self._reserved.items() if each.at_edge == key.at_edge]
                total = files.index.total(key.at_edge)
                if (
                    total.reports + len(reserved) < limits.reports
                    and total.bytes + sum(reserved) + size <= limits.bytes
                ):
                    break
                if not self._free_space(files, key.at_edge, removed):
                    raise StoreFull
            tries = 0
            while key in self._reserved or files.index.has(key):
                # Where very many alerts have one time, a free key is far away.
                step = random.randint(1, 2 ** min(30, max(0, tries - 20)))  # noqa: S311
                key = key._replace(moment=key.moment + step)
                tries += 1
            self._reserved[key] = size
            return key

    def _free_space(self, files: ReportFiles, at_edge: bool, removed: list[str]) -> bool:
        """Return whether there may be more space now."""
        if at_edge:
            keys = files.remove_oldest(True, None, 1 + self._limits[True].reports // 1000)
            removed += [key.name for key in keys]
            return bool(keys)
        # Somebody may have removed files.
        if time.monotonic() - self._synchronized < RECOUNT_SECONDS:
            return False
        self._synchronize(files)
        return True

    def _synchronize(self, files: ReportFiles) -> None:
        with self._capacity_lock:
            files.synchronize()
            self._synchronized = time.monotonic()


def error_name(error: OSError) -> str:
    """Return the name of the system's error, such as ENOSPC."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _text(report: Report, key: ReportKey) -> bytes:
    report.alert.report = key.name
    return to_text(report)
