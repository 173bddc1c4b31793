"""InfluxDB: writes lines, and tells what will work later from what never will.

Nothing that InfluxDB answers leaves this file: its errors quote the lines they refuse, in the body
and in a header.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from mesh.logs import logger
from worker.metrics import INFLUX_WRITE_SECONDS
from worker.settings import WorkerSettings
from worker.waiting import Outage

log = logger("worker.influx")

TIMEOUT_MILLISECONDS = 5_000
PING_TIMEOUT_MILLISECONDS = 1_000

NO_CONTENT = 204
PERMANENT = {400, 413, 422}

ADVICE = {
    401: ("UNAUTHORIZED", "Set SLUICE_INFLUX_TOKEN to a token that InfluxDB knows."),
    403: ("FORBIDDEN", "Allow the token in SLUICE_INFLUX_TOKEN to write the bucket."),
    404: (
        "BUCKET_NOT_FOUND",
        "Create the bucket that SLUICE_INFLUX_BUCKET names, in the organization SLUICE_INFLUX_ORG.",
    ),
}
NOT_INFLUXDB = (
    "NOT_INFLUXDB",
    "Set SLUICE_INFLUX_URL to an InfluxDB: what answers there is none.",
)

OPEN = (
    "InfluxDB lets everybody in. Make users there, set auth-enabled, and name one who may write "
    "the database in SLUICE_INFLUX_TOKEN (user:password)."
)

REFUSALS = {
    b"field type conflict": "FIELD_TYPE_CONFLICT",
    b"beyond retention policy": "POINT_TOO_OLD",
    b"outside retention policy": "POINT_TOO_OLD",
    b"time outside range": "TIME_OUT_OF_RANGE",
    b"unable to parse": "UNPARSABLE",
    b"limit exceeded": "SERIES_LIMIT",
}
"""Words of InfluxDB's errors (1.8 and 2.x) and the class each stands for."""


class Influx:
    """One bucket of an InfluxDB 2.x, or one database of a 1.8. Safe to use from several threads."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._bucket = settings.influx_bucket
        self._has_organizations = bool(settings.influx_org)
        self._has_token = bool(settings.influx_token.get_secret_value())
        # 1.8 has none and ignores the name, but the client insists on one.
        self._org = settings.influx_org or "-"
        client = InfluxDBClient(
            url=settings.influx_url,
            token=settings.influx_token.get_secret_value(),
            org=self._org,
            timeout=TIMEOUT_MILLISECONDS,
            enable_gzip=False,
            connection_pool_maxsize=settings.worker_threads + 1,
            retries=False,
        )
        self._api: Any = client.api_client
        # Beneath the synchronous WriteApi, which hides the status: only 204 says "written".
        self._writes: Any = WriteService(self._api)  # type: ignore[no-untyped-call]
        self._prepared = False

    def ping(self) -> None:
        """Check that InfluxDB answers, and once that it may be written. Raises Outage."""
        if not self._prepared:
            self._prepare()
        self._call("/ping", "GET", [])

    def write(self, lines: Sequence[bytes]) -> Mapping[int, str]:
        """Write the lines in as few requests as possible.

        Returns the index and the error class of each line that InfluxDB refuses for good; all
        others are written. Writing a line again changes nothing. Raises Outage when InfluxDB
        cannot take them now, some of which may be written by then.
        """
        if not self._prepared:
            self._prepare()
        refused: dict[int, str] = {}
        pieces = [range(len(lines))] if lines else []
        while pieces:
            piece = pieces.pop()
            error_class = self._write_piece(lines[piece.start : piece.stop])
            if error_class is None:
                continue
            if len(piece) == 1:
                refused[piece.start] = error_class
            else:
                # The refusal of a batch tells neither which lines were refused nor how many, so
                # the refused ones are searched by halves.
                middle = (piece.start + piece.stop) // 2
                pieces += [range(middle, piece.stop), range(piece.start, middle)]
        return refused

    def _write_piece(self, lines: Sequence[bytes]) -> str | None:
        """Return None when all lines are written, otherwise the class of the refusal."""
        started = time.monotonic()
        try:
            _, status, _ = self._writes.post_write_with_http_info(
                self._org, self._bucket, b"\n".join(lines), precision="ns"
            )
        except ApiException as error:
            if error.status in PERMANENT:
                return _refusal(error)
            if error.status == 404:
                self._prepared = False
            raise _outage(error) from None
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(error) from None
        if status != NO_CONTENT:
            raise Outage(*NOT_INFLUXDB)
        INFLUX_WRITE_SECONDS.observe(time.monotonic() - started)
        return None

    def _prepare(self) -> None:
        """See that the bucket is there and may be written; create the database of a 1.8.

        The buckets of a 2.x are made by people.
        """
        if not self._has_organizations:
            database = self._bucket.partition("/")[0].replace("\\", "\\\\").replace('"', '\\"')
            try:
                self._call("/query", "POST", [("q", f'CREATE DATABASE "{database}"')])
            except Outage as outage:
                # A user who may not create it may well write it.
                if outage.reason not in ("UNAUTHORIZED", "FORBIDDEN"):
                    raise
            else:
                if not self._has_token:
                    log.warning("InfluxDB is open", advice=OPEN)
        # Nothing, written: refused like everything else that may not be written.
        place = [("org", self._org), ("bucket", self._bucket), ("precision", "ns")]
        self._call("/api/v2/write", "POST", place)
        self._prepared = True

    def _call(self, path: str, method: str, query: list[tuple[str, str]]) -> None:
        """Call another endpoint. Raises Outage when it does not succeed."""
        try:
            self._api.call_api(
                path, method, query_params=query, _request_timeout=PING_TIMEOUT_MILLISECONDS
            )
        except ApiException as error:
            raise _outage(error) from None
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(error) from None


def _refusal(error: ApiException) -> str:
    if error.status == 413:
        return "TOO_LARGE"
    body = error.body or b""
    text = body.encode() if isinstance(body, str) else body
    return next((name for words, name in REFUSALS.items() if words in text), "REFUSED")


def _outage(error: ApiException) -> Outage:
    if error.status == 429:
        return Outage("OVERLOADED")
    if error.status >= 500:
        return Outage("SERVER_ERROR")
    return Outage(*ADVICE.get(error.status, NOT_INFLUXDB))


def _unreachable(error: urllib3.exceptions.HTTPError) -> Outage:
    timed_out = isinstance(error, urllib3.exceptions.TimeoutError)
    # By its class a refused connection is a timeout, too.
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    return Outage("TIMEOUT" if timed_out and not refused else "UNREACHABLE")
