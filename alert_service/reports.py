"""The reports on disk: one file for every alert, whole or not there at all.

A report is written in steps:

1. `.<alert_id>.tmp` with the content, durable;
2. the report itself, as a second name of that file, which replaces nothing;
3. the first name goes, and the names are made durable;
4. the report is added to the index.

The files are what counts. A process that dies before step 2 leaves a temporary file, which is swept
when the directory is opened; nobody was told of that alert. After it, the report is whole, and the
index is brought in step with the files before anything is answered. Removing a report file forgets
the alert, and no other copy of its payload remains.

Reports of what the gateway refused by itself lie in a directory of their own, with bounds of their
own: there, the oldest make room for new ones.
"""

from __future__ import annotations

import errno
import random
import secrets
import shutil
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
from alert_service.index import Conditions, Index, Row
from alert_service.names import Place
from alert_service.text import PAYLOAD_LINE, Unreadable, parse_alert, to_text, with_alert
from alert_service.validation import completed
from mesh.health import Unhealthy
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert, Report

log = logger("alert.reports")

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""A page of alerts has to fit into one message."""

RECOUNT_SECONDS = 5.0
STEP = 100
"""Reports that are removed in one step of a sweep."""

KEY_BYTES = 32

_DAY_MICROSECONDS = 86_400_000_000
_TEMPORARY = ".tmp"
_PROBE = f".probe{_TEMPORARY}"
_PROBE_CONTENT = bytes(4096)
_KEY = ".key"
_CLAIMS_OF_EARLIER_VERSIONS = ".ids"
_LOCKS = 64
_ROWS_AT_ONCE = 1000
_EVERYTHING = Conditions()


class Full(Exception):
    """As many reports are kept as may be."""


class NotOpen(OSError):
    """The directory could not be opened yet."""


class Limits(NamedTuple):
    """How many reports are kept, how many bytes of them, and for how many days; 0: for ever."""

    reports: int
    bytes: int
    days: int


@dataclass(frozen=True, slots=True)
class Written:
    """A report that stands: its file name, and whether this very call made it stand.

    `removed` are the names of those that made room for it.
    """

    name: str
    is_new: bool
    removed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some alerts, newest first, and the place that the next page starts before, if any."""

    alerts: list[Alert]
    next: Place | None


@dataclass(frozen=True, slots=True)
class _Open:
    """All that is open while reports can be written."""

    main: Directory
    edge: Directory
    index: Index
    key: bytes

    def directory(self, at_edge: bool) -> Directory:
        return self.edge if at_edge else self.main


class Reports:
    """Writes reports into a directory and reads alerts back. Blocks; may be used by threads.

    Nothing works until probe() has succeeded once: it opens the directory, which only one process
    may hold. `edge_limits` hold for what the gateway refused by itself.
    """

    def __init__(self, path: Path, limits: Limits, edge_limits: Limits) -> None:
        self._path = path
        self._limits = {False: limits, True: edge_limits}
        self._open: _Open | None = None
        self._index_failed = False
        self._opening = threading.Lock()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._books = threading.RLock()
        """Held while places are reserved and while the index is brought in step."""
        self._reserved: dict[Place, int] = {}
        self._unsure: set[str] = set()
        """Alerts whose report may be there without being durable or in the index."""
        self._counted = 0.0

    @property
    def is_open(self) -> bool:
        """Whether reports can be written."""
        return self._open is not None

    def count(self, at_edge: bool = False) -> int:
        """Return how many reports are kept."""
        return self._open.index.total(at_edge).reports if self._open else 0

    def total_bytes(self, at_edge: bool = False) -> int:
        """Return how many bytes they take."""
        return self._open.index.total(at_edge).bytes if self._open else 0

    def share(self, at_edge: bool = False) -> float:
        """Return how much of the room for reports is taken, from 0 to 1."""
        limits = self._limits[at_edge]
        return max(self.count(at_edge) / limits.reports, self.total_bytes(at_edge) / limits.bytes)

    @property
    def key(self) -> bytes:
        """The secret of this directory, made when it was first opened. Raises NotOpen."""
        return self._opened().key

    def probe(self) -> None:
        """Check that a report could be written now; open the directory when that is to be done.

        Raises Unhealthy.
        """
        if not self._opening.acquire(blocking=False):
            raise Unhealthy("the directory of the reports is still being read")
        try:
            opened = self._open
            if opened is None or self._index_failed or not _is_in_place(opened):
                if opened is not None:
                    self._open = None
                    opened.index.close()
                    # An error that somebody still has may refer to it, so waiting for the last to
                    # let go of it could take long.
                    opened.edge.release()
                    opened.main.release()
                self._open = opened = self._open_anew()
            if self._unsure:
                self._bring_in_step(opened)
                self._unsure.clear()
            opened.main.remove(_PROBE)
            try:
                opened.main.create(_PROBE, _PROBE_CONTENT, durable=False)
            finally:
                opened.main.remove(_PROBE)
        except OSError as error:
            raise Unhealthy(f"no report can be written: {error_name(error)}") from None
        except sqlite3.Error as error:
            raise Unhealthy(f"the index cannot be used: {type(error).__name__}") from None
        finally:
            self._opening.release()

    def write(self, report: Report, at_edge: bool = False) -> Written:
        """Return when the report is on disk; its alert has a valid id and a namable time.

        Of several reports with one alert id the first one stands. Raises Full, OSError; the call
        may be repeated after either.
        """
        opened = self._opened()
        alert_id = report.alert.alert_id
        with self._locks[hash(alert_id) % _LOCKS], self._using_index():
            is_unsure = alert_id in self._unsure
            if is_unsure:
                self._bring_in_step(opened)
            while (standing := opened.index.find(alert_id)) is not None:
                if _holds(opened, standing):
                    self._unsure.discard(alert_id)
                    return Written(names.name_of(standing), is_new=is_unsure)
                opened.index.remove([standing])
            return self._write(opened, report, at_edge)

    def rewrite(self, alert: Alert) -> None:
        """Put an alert into its report, which is there, in place of the one that it holds.

        A crash leaves the old or the new one. Raises OSError.
        """
        opened = self._opened()
        place = names.parse_name(alert.report)
        assert place is not None  # noqa: S101
        directory, name = opened.directory(place.at_edge), names.file_name(place.moment)
        temporary = f".{alert.alert_id}{_TEMPORARY}"
        with self._locks[hash(alert.alert_id) % _LOCKS], self._using_index():
            text = with_alert(directory.read(name), alert)
            directory.remove(temporary)
            directory.create(temporary, text)
            directory.replace(temporary, name)
            with self._books:
                opened.index.add([Row(place, len(text), _now(), alert)])

    def read(self, alert_id: str) -> Alert | None:
        """Return the alert of this id, or None when there is none.

        Raises Unreadable when its file was changed by somebody, OSError.
        """
        opened = self._opened()
        with self._using_index():
            place = opened.index.find(alert_id)
            if place is None:
                return None
            try:
                alert = _alert_at(opened, place)
            except FileNotFoundError:
                opened.index.remove([place])
                return None
        return alert if alert.alert_id == alert_id else None

    def page(
        self, most: int, before: Place | None = None, conditions: Conditions = _EVERYTHING
    ) -> Page:
        """Return up to `most` alerts before a place, or the newest ones.

        Reads no more files than it returns alerts, save those that were removed or changed by
        somebody. Raises OSError.
        """
        opened = self._opened()
        alerts: list[Alert] = []
        left_bytes = MAX_PAGE_BYTES
        last = None
        with self._using_index():
            while True:
                # One more, to see whether there is a next page.
                places = opened.index.before(before, most - len(alerts) + 1, conditions)
                for before in places:
                    if len(alerts) == most:
                        return Page(alerts, last)
                    alert = _readable(opened, before)
                    if alert is None:
                        continue
                    left_bytes -= alert.ByteSize()
                    if alerts and left_bytes < 0:
                        return Page(alerts, last)
                    alerts.append(alert)
                    last = before
                if not places:
                    return Page(alerts, None)

    def sweep(self) -> int:
        """Remove some reports that were written longer ago than they may be; return how many.

        Raises OSError.
        """
        opened = self._opened()
        removed = 0
        with self._using_index():
            for at_edge, limits in self._limits.items():
                if limits.days:
                    end = _now() - limits.days * _DAY_MICROSECONDS
                    removed += len(_remove_oldest(opened, at_edge, end, STEP))
        return removed

    def _opened(self) -> _Open:
        opened = self._open
        if opened is None:
            raise NotOpen(errno.ENOTCONN, "the directory of the reports is not open")
        return opened

    @contextmanager
    def _using_index(self) -> Iterator[None]:
        """Turn an error of the index into OSError, and have the index opened anew."""
        try:
            yield
        except sqlite3.Error as error:
            self._index_failed = True
            log.error("index failed", reason=type(error).__name__)
            raise OSError(errno.EIO, "the index of the reports failed") from None

    def _write(self, opened: _Open, report: Report, at_edge: bool) -> Written:
        alert_id = report.alert.alert_id
        place = Place(names.moment_of(report.alert.raise_time), at_edge)
        removed: list[str] = []
        while True:
            text = _text(report, place)
            free = self._reserve(opened, place, len(text), removed)
            try:
                if free != place:
                    text = _text(report, free)
                self._put(opened.directory(at_edge), alert_id, names.file_name(free.moment), text)
                with self._books:
                    opened.index.add([Row(free, len(text), _now(), report.alert)])
                self._unsure.discard(alert_id)
                return Written(names.name_of(free), True, removed)
            except FileExistsError:
                # Somebody has put something here that we did not know of. It stays.
                place = Place(free.moment + 1, at_edge)
            finally:
                with self._books:
                    self._reserved.pop(free, None)

    def _put(self, directory: Directory, alert_id: str, name: str, text: bytes) -> None:
        """Take the steps. Raises FileExistsError when the report's name is taken, OSError."""
        temporary = f".{alert_id}{_TEMPORARY}"
        try:
            directory.remove(temporary)
            directory.create(temporary, text)
            self._unsure.add(alert_id)
            directory.link(temporary, name)
        except OSError:
            # What cannot be removed now is swept later.
            with suppress(OSError):
                directory.remove(temporary)
            raise
        directory.remove(temporary)
        directory.sync()

    def _reserve(self, opened: _Open, place: Place, size: int, removed: list[str]) -> Place:
        """Reserve the first free place from `place` on for `size` bytes. Raises Full.

        The names of reports that make room are added to `removed`.
        """
        limits = self._limits[place.at_edge]
        with self._books:
            while True:
                reserved = [each for at, each in self._reserved.items() if at[1] == place.at_edge]
                total = opened.index.total(place.at_edge)
                if (
                    total.reports + len(reserved) < limits.reports
                    and total.bytes + sum(reserved) + size <= limits.bytes
                ):
                    break
                if not self._make_room(opened, place.at_edge, removed):
                    raise Full
            tries = 0
            while place in self._reserved or opened.index.has(place):
                # Where very many alerts have one time, a free place is far away.
                step = random.randint(1, 2 ** min(30, max(0, tries - 20)))  # noqa: S311
                place = Place(place.moment + step, place.at_edge)
                tries += 1
            self._reserved[place] = size
            return place

    def _make_room(self, opened: _Open, at_edge: bool, removed: list[str]) -> bool:
        """Return whether there may be more room now."""
        if at_edge:
            places = _remove_oldest(opened, True, None, 1 + self._limits[True].reports // 1000)
            removed += map(names.name_of, places)
            return bool(places)
        # Somebody may have removed files.
        if time.monotonic() - self._counted < RECOUNT_SECONDS:
            return False
        self._bring_in_step(opened)
        return True

    def _open_anew(self) -> _Open:
        main = Directory(self._path)
        edge = main.within(names.EDGE)
        shutil.rmtree(self._path / _CLAIMS_OF_EARLIER_VERSIONS, ignore_errors=True)
        for directory in (main, edge):
            for name in directory.names():
                if name.endswith(_TEMPORARY):
                    directory.remove(name)
        opened = _Open(main, edge, Index(self._path), _key(main))
        try:
            self._bring_in_step(opened)
        except Exception:
            opened.index.close()
            raise
        self._index_failed = False
        totals = opened.index.total(False), opened.index.total(True)
        log.info(
            "reports opened",
            reports=totals[0].reports,
            bytes=totals[0].bytes,
            edge_reports=totals[1].reports,
            edge_bytes=totals[1].bytes,
        )
        return opened

    def _bring_in_step(self, opened: _Open) -> None:
        """Make what is there durable, and have the index know exactly that."""
        with self._books:
            opened.main.sync()
            opened.edge.sync()
            known = opened.index.sizes()
            found = {place: (size, written) for place, size, written in _kept(opened)}
            sizes = {place: size for place, (size, _) in found.items()}
            opened.index.remove([each for each in known if sizes.get(each) != known[each]])
            new = [each for each in found if known.get(each) != sizes[each]]
            for start in range(0, len(new), _ROWS_AT_ONCE):
                opened.index.add(
                    Row(place, *found[place], _readable(opened, place))
                    for place in new[start : start + _ROWS_AT_ONCE]
                )
            self._counted = time.monotonic()


def error_name(error: OSError) -> str:
    """Return the name of the system's error, such as ENOSPC."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _is_in_place(opened: _Open) -> bool:
    return opened.main.is_in_place() and opened.edge.is_in_place()


def _holds(opened: _Open, place: Place) -> bool:
    return opened.directory(place.at_edge).holds(names.file_name(place.moment))


def _now() -> int:
    return time.time_ns() // 1000


def _kept(opened: _Open) -> Iterator[tuple[Place, int, int]]:
    """Give place, size and time of writing of every report."""
    for at_edge in (False, True):
        for name, size, written in opened.directory(at_edge).files():
            moment = names.parse_file_name(name)
            if moment is not None:
                yield Place(moment, at_edge), size, written


def _text(report: Report, place: Place) -> bytes:
    report.alert.report = names.name_of(place)
    return to_text(report)


def _alert_at(opened: _Open, place: Place) -> Alert:
    directory = opened.directory(place.at_edge)
    alert = parse_alert(directory.read(names.file_name(place.moment), until=PAYLOAD_LINE))
    alert.report = names.name_of(place)
    return completed(alert)


def _readable(opened: _Open, place: Place) -> Alert | None:
    """Return the alert of a report, or None when somebody has removed or changed it."""
    try:
        return _alert_at(opened, place)
    except FileNotFoundError:
        return None
    except (Unreadable, OSError):
        log.warning("report unreadable", report=names.name_of(place))
    return None


def _remove_oldest(opened: _Open, at_edge: bool, before: int | None, most: int) -> Sequence[Place]:
    """Remove the reports that were written first, before a time when given; return their places."""
    places = opened.index.oldest(at_edge, before, most)
    for place in places:
        opened.directory(at_edge).remove(names.file_name(place.moment))
    opened.index.remove(places)
    return places


def _key(directory: Directory) -> bytes:
    """Return the key that lies in a directory; make one where there is none."""
    key = directory.read(_KEY) if directory.holds(_KEY) else b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        directory.create(f"{_KEY}{_TEMPORARY}", key)
        directory.replace(f"{_KEY}{_TEMPORARY}", _KEY)
        directory.sync()
        log.info("key made")
    return key
