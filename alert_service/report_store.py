"""The store of reports: one file for every alert, whole or not there at all.

Reports are written together, in steps:

1. for each, `.<alert_id>.tmp` with the content; then all of these are made durable at once;
2. the report itself, as a second name of that file, which replaces nothing;
3. the first names go, and all names are made durable by one call;
4. the reports are added to the index, in one transaction.

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
from alert_service.directory import Directory
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


Outcome = WriteResult | StoreFull | OSError
"""What became of one report among several."""


class _Draft:
    """A report on its way to the disk."""

    __slots__ = ("failure", "key", "removed", "report", "text")

    def __init__(self, report: Report, at_edge: bool) -> None:
        self.report = report
        self.key = ReportKey(names.moment_of(report.alert.raise_time), at_edge)
        """The one that it should have; once it is reserved, the one that it has."""
        self.text = b""
        self.failure: StoreFull | OSError | None = None
        self.removed: list[str] = []
        """Names of the reports that were removed to make space for it."""

    @property
    def alert_id(self) -> str:
        return self.report.alert.alert_id

    @property
    def temporary(self) -> str:
        return f".{self.alert_id}{TEMPORARY}"

    @property
    def outcome(self) -> Outcome:
        return self.failure or WriteResult(self.key.name, True, self.removed)

    def print(self) -> None:
        """Make the text, which names the report."""
        self.report.alert.report = self.key.name
        self.text = to_text(self.report)


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
        self._writing = {False: threading.Lock(), True: threading.Lock()}
        """Held while reports are written or rewritten in a directory."""
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
                with self._writing[False], self._writing[True]:
                    self._synchronize(files)
                    self._unsure.clear()
            files.check_writable()
        except OSError as error:
            raise Unhealthy(f"no report can be written: {error_name(error)}") from None
        except sqlite3.Error as error:
            raise Unhealthy(f"the index cannot be used: {type(error).__name__}") from None
        finally:
            self._opening.release()

    def write_all(self, reports: Sequence[Report], at_edge: bool = False) -> list[Outcome]:
        """Return what became of each report, in order, when all of them are on disk or failed.

        Their alerts have valid ids and namable times. Idempotent: of several reports with one alert
        id the first is kept. Raises OSError when it is not known of any that it is on disk. After
        any failure the call may be repeated.
        """
        files = self._opened()
        outcomes: dict[str, Outcome] = {}
        drafts: dict[str, _Draft] = {}
        with self._writing[at_edge], self._using_index():
            unsure = self._unsure.intersection([each.alert.alert_id for each in reports])
            if unsure:
                self._synchronize(files)
            for report in reports:
                alert_id = report.alert.alert_id
                if alert_id not in outcomes and alert_id not in drafts:
                    existing = _existing(files, alert_id)
                    if existing is not None:
                        outcomes[alert_id] = WriteResult(existing.name, alert_id in unsure)
                    else:
                        drafts[alert_id] = _Draft(report, at_edge)
            if drafts:
                self._write(files, list(drafts.values()))
            self._unsure.difference_update(outcomes)
        outcomes |= {alert_id: draft.outcome for alert_id, draft in drafts.items()}
        return [_told_once(outcomes, report.alert.alert_id) for report in reports]

    def rewrite(self, alert: Alert) -> None:
        """Replace the alert in its report, which is there.

        A crash leaves the old or the new one. Raises OSError.
        """
        files = self._opened()
        key = names.parse_name(alert.report)
        assert key is not None  # noqa: S101
        directory = files.directory(key)
        temporary = f".{alert.alert_id}{TEMPORARY}"
        with self._writing[key.at_edge], self._using_index():
            text = with_alert(directory.read(key.file_name), alert)
            directory.remove(temporary)
            directory.create_durable(temporary, text)
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

    @contextmanager
    def _using_index(self) -> Iterator[None]:
        """Turn an error of the index into OSError, and have the index opened anew."""
        try:
            yield
        except sqlite3.Error as error:
            self._index_failed = True
            log.error("index failed", reason=type(error).__name__)
            raise OSError(errno.EIO, "the index of the reports failed") from None

    def _write(self, files: ReportFiles, drafts: Sequence[_Draft]) -> None:
        """Take all steps for reports of one directory. Raises OSError as `write_all` does."""
        directory = files.directory(drafts[0].key)
        try:
            waiting = drafts
            while waiting:
                for draft in waiting:
                    self._reserve(files, draft)
                _create_files(directory, [each for each in waiting if each.failure is None])
                waiting = self._name_files(
                    directory, [each for each in waiting if each.failure is None]
                )
            written = [each for each in drafts if each.failure is None]
            if written:
                directory.sync()
                rows = [Row(each.key, len(each.text), now(), each.report.alert) for each in written]
                with self._capacity_lock:
                    files.index.add(rows)
        except Exception:
            self._unsure.update([each.alert_id for each in drafts])
            raise
        finally:
            with self._capacity_lock:
                for draft in drafts:
                    self._reserved.pop(draft.key, None)

    def _name_files(self, directory: Directory, drafts: Sequence[_Draft]) -> list[_Draft]:
        """Take step 2, and remove the first names. Returns those whose name is taken."""
        taken = []
        for draft in drafts:
            try:
                directory.link(draft.temporary, draft.key.file_name)
            except FileExistsError:
                # Somebody has put something here that we did not know of. It stays.
                taken.append(draft)
            except OSError as error:
                draft.failure = error
            try:
                directory.remove(draft.temporary)
            except OSError as error:
                # What cannot be removed now is removed later.
                draft.failure = draft.failure or error
            if draft.failure is not None:
                self._unsure.add(draft.alert_id)
        for draft in taken:
            with self._capacity_lock:
                self._reserved.pop(draft.key, None)
            draft.key = draft.key._replace(moment=draft.key.moment + 1)
        return [each for each in taken if each.failure is None]

    def _reserve(self, files: ReportFiles, draft: _Draft) -> None:
        """Reserve the first free key from the draft's on, and make the text. May fail as full."""
        draft.print()
        key, size = draft.key, len(draft.text)
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
                if not self._free_space(files, key.at_edge, draft.removed):
                    draft.failure = StoreFull()
                    return
            tries = 0
            while key in self._reserved or files.index.has(key):
                # Where very many alerts have one time, a free key is far away.
                step = random.randint(1, 2 ** min(30, max(0, tries - 20)))  # noqa: S311
                key = key._replace(moment=key.moment + step)
                tries += 1
            self._reserved[key] = size
        if key != draft.key:
            draft.key = key
            draft.print()

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


def _existing(files: ReportFiles, alert_id: str) -> ReportKey | None:
    """Return the key of the report that an alert has, None when it has none any more."""
    while (existing := files.index.find(alert_id)) is not None:
        if files.exists(existing):
            break
        files.index.remove([existing])
    return existing


def _create_files(directory: Directory, drafts: Sequence[_Draft]) -> None:
    """Take step 1."""
    created, descriptors = [], []
    for draft in drafts:
        try:
            directory.remove(draft.temporary)
            descriptors.append(directory.create(draft.temporary, draft.text))
            created.append(draft)
        except OSError as error:
            draft.failure = error
    for draft, failure in zip(created, directory.sync_files(descriptors), strict=True):
        draft.failure = failure
    for draft in drafts:
        if draft.failure is not None:
            # What cannot be removed now is removed later.
            with suppress(OSError):
                directory.remove(draft.temporary)


def _told_once(outcomes: dict[str, Outcome], alert_id: str) -> Outcome:
    """Return what became of an alert, of which only the first to ask is told that it is new."""
    outcome = outcomes[alert_id]
    if isinstance(outcome, WriteResult):
        outcomes[alert_id] = WriteResult(outcome.name, is_new=False)
    return outcome
