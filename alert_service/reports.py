"""The reports on disk: one file for every alert, whole or not there at all.

A report is written in steps, and each leaves something that can be taken up again:

1. `.<alert_id>.tmp` with the content, durable;
2. `.ids/<alert_id>`, a symbolic link that names the report: the claim of this alert on that name;
3. the report itself, as a second name of the first file;
4. the first name goes, and all names are made durable.

A claim whose report is not there counts for nothing, so removing a report file forgets the alert,
and no other copy of its payload remains. What an interrupted process left is swept when the
directory is opened: a whole temporary file becomes the report it was to be, a torn one goes.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from alert_service import names
from alert_service.catalogue import Catalogue, Full
from alert_service.directory import Directory
from alert_service.text import PAYLOAD_LINE, Unreadable, parse_alert, parse_whole, to_text
from alert_service.validation import is_alert_id
from mesh.health import Unhealthy
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert, Report

log = logger("alert.reports")

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""A page of alerts has to fit into one message."""

RECOUNT_SECONDS = 5.0

_TEMPORARY = ".tmp"
_PROBE = f".probe{_TEMPORARY}"
_PROBE_CONTENT = bytes(4096)
_LOCKS = 64


class NotOpen(OSError):
    """The directory could not be opened yet."""


@dataclass(frozen=True, slots=True)
class Written:
    """A report that stands: its file name, and whether this very call made it stand."""

    name: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some alerts, newest first, and the stamp that the next page starts before."""

    alerts: list[Alert]
    next_stamp: str


class Reports:
    """Writes reports into one directory and reads alerts back. Blocks; may be used by threads.

    Nothing works until probe() has succeeded once: it opens the directory, which only one process
    may hold.
    """

    def __init__(self, path: Path, most_reports: int, most_bytes: int) -> None:
        self._path = path
        self._directory: Directory | None = None
        self._opening = threading.Lock()
        self._catalogue = Catalogue(most_reports, most_bytes)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._counted = 0.0

    @property
    def count(self) -> int:
        """How many reports are kept."""
        return len(self._catalogue)

    @property
    def total_bytes(self) -> int:
        """How many bytes they take."""
        return self._catalogue.total_bytes

    def probe(self) -> None:
        """Check that a report could be written now; open the directory when that is to be done.

        Raises Unhealthy.
        """
        if not self._opening.acquire(blocking=False):
            raise Unhealthy("the directory of the reports is still being read")
        try:
            if self._directory is None or not self._directory.is_in_place():
                self._directory = None
                self._directory = self._open()
            self._directory.remove(_PROBE)
            try:
                self._directory.create(_PROBE, _PROBE_CONTENT, durable=False)
            finally:
                self._directory.remove(_PROBE)
        except OSError as error:
            raise Unhealthy(f"no report can be written: {error_name(error)}") from None
        finally:
            self._opening.release()

    def write(self, report: Report) -> Written:
        """Return when the report is on disk; its alert has a valid id and a namable time.

        Of several reports with one alert id the first one stands. Raises Full, OSError; the call
        may be repeated after either.
        """
        directory = self._opened()
        alert_id = report.alert.alert_id
        with self._locks[hash(alert_id) % _LOCKS], directory.identities() as identities:
            standing = _claimed(identities, alert_id)
            if standing is not None and directory.holds(names.name_of(standing)):
                return self._confirm(directory, identities, standing)
            return self._write(directory, identities, report)

    def read(self, alert_id: str) -> Alert | None:
        """Return the alert of this id, or None when there is none.

        Raises Unreadable when its file was changed by somebody, OSError.
        """
        directory = self._opened()
        with directory.identities() as identities:
            moment = _claimed(identities, alert_id)
        if moment is None:
            return None
        try:
            return _alert_at(directory, moment)
        except FileNotFoundError:
            self._catalogue.remove(moment)
            return None

    def page(self, most: int, before_stamp: str) -> Page:
        """Return up to `most` alerts before a stamp, or the newest ones when it is empty.

        Reads no more files than it returns alerts, save those that were removed or changed by
        somebody. Raises OSError.
        """
        directory = self._opened()
        alerts: list[Alert] = []
        left_bytes = MAX_PAGE_BYTES
        moment = names.parse_stamp(before_stamp)
        while True:
            moments = self._catalogue.before(moment, most - len(alerts))
            if not moments:
                return Page(alerts, "")
            for moment in moments:
                alert = self._readable(directory, moment)
                if alert is None:
                    continue
                left_bytes -= alert.ByteSize()
                if alerts and left_bytes < 0:
                    return Page(alerts, alerts_stamp(alerts))
                alerts.append(alert)
            if len(alerts) == most:
                more = self._catalogue.before(moment, 1)
                return Page(alerts, alerts_stamp(alerts) if more else "")

    def _opened(self) -> Directory:
        directory = self._directory
        if directory is None:
            raise NotOpen(errno.ENOTCONN, "the directory of the reports is not open")
        return directory

    def _confirm(self, directory: Directory, identities: int, moment: int) -> Written:
        """Return the report that stands, after making durable what an earlier call could not."""
        name = names.name_of(moment)
        if moment in self._catalogue:
            return Written(name, is_new=False)
        directory.sync(identities)
        self._catalogue.add(moment, os.lstat(name, dir_fd=directory.descriptor).st_size)
        return Written(name, is_new=True)

    def _write(self, directory: Directory, identities: int, report: Report) -> Written:
        moment = names.moment_of(report.alert.raise_time)
        while True:
            text = _text(report, moment)
            free = self._reserve(directory, moment, len(text))
            if free != moment:
                text = _text(report, free)
            try:
                self._put(directory, identities, report.alert.alert_id, free, text)
                self._catalogue.add(free, len(text))
                return Written(names.name_of(free), is_new=True)
            except FileExistsError:
                # Somebody has put something here that we did not know of. It stays.
                moment = free + 1
            finally:
                self._catalogue.release(free)

    def _reserve(self, directory: Directory, moment: int, size: int) -> int:
        try:
            return self._catalogue.reserve(moment, size)
        except Full:
            # Somebody may have made room.
            if time.monotonic() - self._counted < RECOUNT_SECONDS:
                raise
            self._count(directory)
            return self._catalogue.reserve(moment, size)

    def _put(
        self, directory: Directory, identities: int, alert_id: str, moment: int, text: bytes
    ) -> None:
        """Take the steps. Raises FileExistsError when the report's name is taken, OSError."""
        name = names.name_of(moment)
        temporary = f".{alert_id}{_TEMPORARY}"
        try:
            directory.remove(temporary)
            directory.create(temporary, text, durable=True)
            _claim(identities, alert_id, moment)
            directory.link(temporary, name)
        except OSError:
            # What cannot be removed now is swept later: it claims nothing.
            with suppress(OSError):
                os.unlink(alert_id, dir_fd=identities)
            with suppress(OSError):
                directory.remove(temporary)
            raise
        directory.remove(temporary)
        directory.sync(identities)

    def _open(self) -> Directory:
        directory = Directory(self._path)
        with directory.identities() as identities:
            for name in directory.names():
                if name.endswith(_TEMPORARY):
                    _recover(directory, identities, name)
            self._count(directory)
            self._mend_claims(directory, identities)
            directory.sync(identities)
        log.info("reports opened", reports=self.count, bytes=self.total_bytes)
        return directory

    def _count(self, directory: Directory) -> None:
        self._catalogue.refill(lambda: dict(_kept(directory)))
        self._counted = time.monotonic()

    def _mend_claims(self, directory: Directory, identities: int) -> None:
        """Drop the claims of reports that are gone; give reports without a claim theirs."""
        unclaimed = {moment for moment, _ in _kept(directory)}
        for alert_id in os.listdir(identities):
            moment = _claimed(identities, alert_id)
            if moment is None or moment not in self._catalogue:
                os.unlink(alert_id, dir_fd=identities)
            else:
                unclaimed.discard(moment)
        for moment in unclaimed:
            alert = self._readable(directory, moment)
            if alert is None or not is_alert_id(alert.alert_id):
                continue
            if _claimed(identities, alert.alert_id) is None:
                _claim(identities, alert.alert_id, moment)

    def _readable(self, directory: Directory, moment: int) -> Alert | None:
        """Return the alert of a report, or None when somebody has removed or changed it."""
        try:
            return _alert_at(directory, moment)
        except FileNotFoundError:
            self._catalogue.remove(moment)
        except Unreadable:
            log.warning("report unreadable", report=names.name_of(moment))
        return None


def error_name(error: OSError) -> str:
    """Return the name of the system's error, such as ENOSPC."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def alerts_stamp(alerts: list[Alert]) -> str:
    """Return the stamp that the alerts after these start before."""
    moment = names.parse_name(alerts[-1].report)
    return "" if moment is None else names.stamp_of(moment)


def _kept(directory: Directory) -> Iterator[tuple[int, int]]:
    """Give moment and size of every report."""
    for name, size in directory.sizes():
        moment = names.parse_name(name)
        if moment is not None:
            yield moment, size


def _text(report: Report, moment: int) -> bytes:
    report.alert.report = names.name_of(moment)
    return to_text(report)


def _alert_at(directory: Directory, moment: int) -> Alert:
    name = names.name_of(moment)
    alert = parse_alert(directory.read(name, until=PAYLOAD_LINE))
    alert.report = name
    return alert


def _claim(identities: int, alert_id: str, moment: int) -> None:
    """Claim a name for an alert, in place of a claim that counts for nothing."""
    with suppress(FileNotFoundError):
        os.unlink(alert_id, dir_fd=identities)
    os.symlink(f"../{names.name_of(moment)}", alert_id, dir_fd=identities)


def _claimed(identities: int, alert_id: str) -> int | None:
    """Return the moment of the report that an alert claims."""
    try:
        target = os.readlink(alert_id, dir_fd=identities)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
    return names.parse_name(target.removeprefix("../"))


def _recover(directory: Directory, identities: int, temporary: str) -> None:
    """Make a whole temporary file the report that it was to be, and remove its first name."""
    try:
        alert = parse_whole(directory.read(temporary))
    except (Unreadable, OSError):
        directory.remove(temporary)
        return
    moment = names.parse_name(alert.report)
    if moment is not None and temporary == f".{alert.alert_id}{_TEMPORARY}":
        claimed = _claimed(identities, alert.alert_id)
        if claimed is None or claimed == moment or not directory.holds(names.name_of(claimed)):
            _complete(directory, identities, temporary, alert.alert_id, moment)
    directory.remove(temporary)


def _complete(
    directory: Directory, identities: int, temporary: str, alert_id: str, moment: int
) -> None:
    name = names.name_of(moment)
    try:
        directory.link(temporary, name)
    except FileExistsError:
        if not directory.are_same(temporary, name):
            # Nobody was told that this report stands.
            log.warning("interrupted report dropped", alert_id=alert_id)
            return
    _claim(identities, alert_id, moment)
    log.info("interrupted report completed", alert_id=alert_id, report=name)
