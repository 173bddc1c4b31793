"""How reports are named: `alert_2025-05-12T14-30-05.123456.txt`, the time of the alert in UTC.

In memory a report is known by that time in microseconds since 1970, its moment.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)\.(\d{6})", re.ASCII)
_PREFIX = "alert_"
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


def stamp_of(moment: int) -> str:
    """Return the part of the name that tells the time."""
    time = _EPOCH + timedelta(microseconds=moment)
    return (
        f"{time.year:04}-{time.month:02}-{time.day:02}"
        f"T{time.hour:02}-{time.minute:02}-{time.second:02}.{time.microsecond:06}"
    )


def parse_stamp(stamp: str) -> int | None:
    """Return the moment that `stamp` tells, or None when it tells none."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None
    try:
        time = datetime(*map(int, match.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    return (time - _EPOCH) // _MICROSECOND


def name_of(moment: int) -> str:
    """Return the name of the report file."""
    return f"{_PREFIX}{stamp_of(moment)}{_SUFFIX}"


def parse_name(name: str) -> int | None:
    """Return the moment of a report file, or None when no report is named like that."""
    if not name.startswith(_PREFIX) or not name.endswith(_SUFFIX):
        return None
    return parse_stamp(name[len(_PREFIX) : -len(_SUFFIX)])
