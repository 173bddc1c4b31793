"""How reports are named: `alert_2025-05-12T14-30-05.123456.txt`, the time of the alert in UTC.

In memory a report is identified by its key: that time in microseconds since 1970, its moment, and
whether it lies in `edge/`, where the reports about requests that the gateway refused are kept.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)\.(\d{6})", re.ASCII)
_PREFIX = "alert_"
EDGE = "edge"
_EDGE_PREFIX = f"{EDGE}/"
_SUFFIX = ".txt"

# The last year is left free, so that a moment can always be moved on.
_FIRST_SECOND = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST_SECOND = int((datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())


def is_namable(time: Timestamp) -> bool:
    """Return whether `time` is well formed and can be part of a name."""
    return _FIRST_SECOND <= time.seconds < _LAST_SECOND and 0 <= time.nanos < 1_000_000_000


def moment_of(time: Timestamp) -> int:
    """Return the moment of a namable time; what is finer than a microsecond is cut off."""
    return time.seconds * 1_000_000 + time.nanos // 1000


class ReportKey(NamedTuple):
    """Identifies a report. Keys sort by time."""

    moment: int
    at_edge: bool

    @property
    def file_name(self) -> str:
        """The name of the report file in its own directory."""
        time = _NAIVE_EPOCH + timedelta(microseconds=self.moment)
        stamp = time.isoformat(timespec="microseconds").replace(":", "-")
        return f"{_PREFIX}{stamp}{_SUFFIX}"

    @property
    def name(self) -> str:
        """The name of the report, which is its path from the directory of all reports."""
        return f"{_EDGE_PREFIX if self.at_edge else ''}{self.file_name}"


def parse_name(name: str) -> ReportKey | None:
    """Return the key of the report with this name, or None when no report is named like that."""
    moment = parse_file_name(name.removeprefix(_EDGE_PREFIX))
    return None if moment is None else ReportKey(moment, name.startswith(_EDGE_PREFIX))


def parse_file_name(name: str) -> int | None:
    """Return the moment of a report file, or None when no report is named like that."""
    if not name.startswith(_PREFIX) or not name.endswith(_SUFFIX):
        return None
    match = _STAMP.fullmatch(name[len(_PREFIX) : -len(_SUFFIX)])
    if match is None:
        return None
    try:
        time = datetime(*map(int, match.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    return (time - _EPOCH) // _MICROSECOND


def page_token(key: ReportKey | None) -> str:
    """Return the token of the page that starts before a report, empty for none."""
    return "" if key is None else key.name.removesuffix(_SUFFIX).replace(_PREFIX, "")


def parse_page_token(token: str) -> ReportKey | None:
    """Return the report that the page of a token starts before, or None when it is no token."""
    directory, slash, stamp = token.rpartition("/")
    return parse_name(f"{directory}{slash}{_PREFIX}{stamp}{_SUFFIX}")
