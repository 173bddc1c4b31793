"""The report files that one process has open, and the index that lists them.

The files are what counts: whenever the directories are opened, and whenever there is doubt, the
index is synchronized with them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from alert_service import names
from alert_service.directory import Directory
from alert_service.index import Index, Row
from alert_service.names import ReportKey
from alert_service.text import PAYLOAD_LINE, UnreadableReport, parse_alert
from alert_service.validation import fill_defaults
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert

log = logger("alert.report_files")

TEMPORARY = ".tmp"
"""How the names of files end that are not finished. They are removed when they are next found."""
HMAC_KEY_BYTES = 32

_PROBE = f".probe{TEMPORARY}"
_PROBE_CONTENT = bytes(4096)
_HMAC_KEY = ".key"
_CLAIMS_OF_EARLIER_VERSIONS = ".ids"
_ROWS_AT_ONCE = 1000


class ReportFiles:
    """The two directories of reports and their index, open until close(). Thread-safe.

    `hmac_key` is the secret of this directory, made when it was first opened. Opening, and every
    method, raises OSError or sqlite3.Error; opening raises Unhealthy while another process has the
    directory open.
    """

    def __init__(self, path: Path) -> None:
        main = Directory(path)
        self._directories = {False: main, True: main.subdirectory(names.EDGE)}
        shutil.rmtree(path / _CLAIMS_OF_EARLIER_VERSIONS, ignore_errors=True)
        for directory in self._directories.values():
            for name in directory.names():
                if name.endswith(TEMPORARY):
                    directory.remove(name)
        self.index = Index(path)
        try:
            self.hmac_key = _hmac_key(main)
            self.synchronize()
        except Exception:
            self.index.close()
            raise
        alerts, edge = self.index.total(False), self.index.total(True)
        log.info(
            "reports opened",
            reports=alerts.reports,
            bytes=alerts.bytes,
            edge_reports=edge.reports,
            edge_bytes=edge.bytes,
        )

    def close(self) -> None:
        """Let the directories be opened again at once; who still uses the index gets an error."""
        self.index.close()
        # An exception that somebody holds may refer to a directory and keep it open for long.
        for directory in self._directories.values():
            directory.release()

    def directory(self, key: ReportKey) -> Directory:
        """Return the directory that a report belongs into."""
        return self._directories[key.at_edge]

    def is_in_place(self) -> bool:
        """Return whether these are still the directories at their paths."""
        return all(each.is_in_place() for each in self._directories.values())

    def check_writable(self) -> None:
        """Write a small file and remove it."""
        main = self._directories[False]
        main.remove(_PROBE)
        try:
            os.close(main.create(_PROBE, _PROBE_CONTENT))
        finally:
            main.remove(_PROBE)

    def exists(self, key: ReportKey) -> bool:
        """Return whether the file of a report is there."""
        return self.directory(key).has_file(key.file_name)

    def read(self, key: ReportKey) -> Alert:
        """Return the alert of a report. Raises UnreadableReport when somebody has changed it."""
        alert = parse_alert(self.directory(key).read(key.file_name, until=PAYLOAD_LINE))
        alert.report = key.name
        return fill_defaults(alert)

    def read_if_intact(self, key: ReportKey) -> Alert | None:
        """Return the alert of a report, or None when somebody has removed or changed it."""
        try:
            return self.read(key)
        except FileNotFoundError:
            return None
        except (UnreadableReport, OSError):
            log.warning("report unreadable", report=key.name)
        return None

    def remove_oldest(self, at_edge: bool, before: int | None, most: int) -> Sequence[ReportKey]:
        """Remove up to `most` reports, those written first; return their keys.

        With `before`, only what was written before that time, in microseconds since 1970.
        """
        keys = self.index.oldest(at_edge, before, most)
        for key in keys:
            self.directory(key).remove(key.file_name)
        self.index.remove(keys)
        return keys

    def synchronize(self) -> None:
        """Make all files durable, and have the index list exactly these."""
        found: dict[ReportKey, tuple[int, int]] = {}
        for directory in self._directories.values():
            directory.sync()
        for at_edge, directory in self._directories.items():
            for name, size, written in directory.files():
                moment = names.parse_file_name(name)
                if moment is not None:
                    found[ReportKey(moment, at_edge)] = size, written
        known = self.index.sizes()
        sizes = {key: size for key, (size, _) in found.items()}
        self.index.remove([key for key in known if sizes.get(key) != known[key]])
        new = [key for key in found if known.get(key) != sizes[key]]
        for start in range(0, len(new), _ROWS_AT_ONCE):
            self.index.add(
                Row(key, *found[key], self.read_if_intact(key))
                for key in new[start : start + _ROWS_AT_ONCE]
            )


def now() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


def _hmac_key(directory: Directory) -> bytes:
    """Return the key that lies in a directory; make one where there is none."""
    key = directory.read(_HMAC_KEY) if directory.has_file(_HMAC_KEY) else b""
    if len(key) != HMAC_KEY_BYTES:
        key = secrets.token_bytes(HMAC_KEY_BYTES)
        temporary = f"{_HMAC_KEY}{TEMPORARY}"
        directory.create_durable(temporary, key)
        directory.replace(temporary, _HMAC_KEY)
        directory.sync()
        log.info("key made")
    return key
