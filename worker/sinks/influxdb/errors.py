"""What InfluxDB's errors mean: a refusal for good, or an outage, some of which need an operator.

InfluxDB quotes the lines that it refuses, in the body of its answer and in a header. So each error
becomes a class here, and nothing else of it goes any further.
"""

from __future__ import annotations

from typing import NamedTuple

import urllib3

from worker.waiting import Outage

NOT_FOUND = 404
TOO_LARGE = 413
REFUSED = {400, TOO_LARGE, 422}
"""Statuses of a write that no repetition will get through."""

REFUSALS = {
    b"field type conflict": "FIELD_TYPE_CONFLICT",
    b"beyond retention policy": "POINT_TOO_OLD",
    b"outside retention policy": "POINT_TOO_OLD",
    b"time outside range": "TIME_OUT_OF_RANGE",
    b"unable to parse": "UNPARSABLE",
    b"limit exceeded": "SERIES_LIMIT",
}
"""Words of InfluxDB's refusals (1.8 and 2.x) and the class each stands for."""


class OutageClass(NamedTuple):
    """A reason why InfluxDB takes nothing now, and what the operator can do about it.

    The worker waits in silence where the advice for writing is empty. A person who runs the audit
    is always told something.
    """

    reason: str
    to_write: str = ""
    to_read: str = "Check SLUICE_INFLUX_URL."

    def writing(self) -> Outage:
        """Return the outage of a write."""
        return Outage(self.reason, self.to_write)

    def reading(self) -> Outage:
        """Return the outage of a query."""
        return Outage(self.reason, self.to_read)


_KNOWN_TOKEN = "Set SLUICE_INFLUX_TOKEN to a token that InfluxDB knows."  # noqa: S105
_ANOTHER_URL = "Set SLUICE_INFLUX_URL to an InfluxDB: what answers is none."

UNAUTHORIZED = OutageClass("UNAUTHORIZED", _KNOWN_TOKEN, _KNOWN_TOKEN)
FORBIDDEN = OutageClass(
    "FORBIDDEN",
    "Allow the token in SLUICE_INFLUX_TOKEN to write the bucket.",
    "Allow the token in SLUICE_INFLUX_TOKEN to read the bucket.",
)
BUCKET_NOT_FOUND = OutageClass(
    "BUCKET_NOT_FOUND",
    "Create the bucket that SLUICE_INFLUX_BUCKET names, in the organization SLUICE_INFLUX_ORG.",
    "On 2.x, map a database of its name to the bucket.",
)
OVERLOADED = OutageClass("OVERLOADED")
SERVER_ERROR = OutageClass("SERVER_ERROR")
TIMEOUT = OutageClass("TIMEOUT")
UNREACHABLE = OutageClass("UNREACHABLE")
NOT_INFLUXDB = OutageClass("NOT_INFLUXDB", _ANOTHER_URL, _ANOTHER_URL)
ANSWER_CUT_OFF = OutageClass("ANSWER_CUT_OFF")
QUERY_REFUSED = OutageClass(
    "QUERY_REFUSED",
    to_read="See that SLUICE_INFLUX_BUCKET names its database, and SLUICE_INFLUX_TOKEN one who may "
    "read.",
)

OUTAGES = {
    401: UNAUTHORIZED,
    403: FORBIDDEN,
    NOT_FOUND: BUCKET_NOT_FOUND,
    429: OVERLOADED,
}


def refusal_class(status: int, body: bytes | str | None) -> str:
    """Return the error class of a write that was refused for good, with a status of REFUSED."""
    if status == TOO_LARGE:
        return "TOO_LARGE"
    text = body.encode() if isinstance(body, str) else body or b""
    return next((name for words, name in REFUSALS.items() if words in text), "REFUSED")


def outage_class(status: int) -> OutageClass:
    """Return what a status means that is neither success nor a refusal for good."""
    return SERVER_ERROR if status >= 500 else OUTAGES.get(status, NOT_INFLUXDB)


def unreachable_class(error: urllib3.exceptions.HTTPError) -> OutageClass:
    """Return what an error of the connection means."""
    timed_out = isinstance(error, urllib3.exceptions.TimeoutError)
    # By its class a refused connection is a timeout, too.
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    return TIMEOUT if timed_out and not refused else UNREACHABLE
