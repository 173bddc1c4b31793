"""Writes to InfluxDB, and tells what will work later from what never will."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from mesh.logs import logger
from worker.settings import WorkerSettings
from worker.sinks.influxdb import errors, metrics
from worker.sinks.influxdb.lines import line
from worker.sinks.sink import Row
from worker.waiting import Outage

log = logger("worker.influx")

TIMEOUT_MILLISECONDS = 5_000
PING_TIMEOUT_MILLISECONDS = 1_000

MOST_LINES = 10_000
"""In one request; beyond some thousands a larger one saves InfluxDB nothing more."""

NO_CONTENT = 204

OPEN = (
    "InfluxDB lets everybody in. Make users there, set auth-enabled, and name one who may write "
    "the database in SLUICE_INFLUX_TOKEN (user:password)."
)


class InfluxDBWriter:
    """One bucket of an InfluxDB 2.x, or one database of a 1.8: a worker.sinks.sink.Sink."""

    name = "influxdb"
    up = metrics.UP

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

    def write(self, rows: Sequence[Row]) -> Mapping[int, str]:
        """Write rows in as few requests as possible; see worker.sinks.sink.Sink.write."""
        if not self._prepared:
            self._prepare()
        lines = [line(row) for row in rows]
        refused: dict[int, str] = {}
        every = range(len(lines))
        pieces = [every[start : start + MOST_LINES] for start in every[::MOST_LINES]]
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
            if error.status in errors.REFUSED:
                return errors.refusal_class(error.status, error.body)
            if error.status == errors.NOT_FOUND:
                self._prepared = False
            raise errors.outage_class(error.status).writing() from None
        except urllib3.exceptions.HTTPError as error:
            raise errors.unreachable_class(error).writing() from None
        if status != NO_CONTENT:
            raise errors.NOT_INFLUXDB.writing()
        metrics.WRITE_SECONDS.observe(time.monotonic() - started)
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
                if outage.reason not in (errors.UNAUTHORIZED.reason, errors.FORBIDDEN.reason):
                    raise
            else:
                if not self._has_token:
                    log.warning("InfluxDB is open", advice=OPEN)
        # Nothing, written: refused like everything else that may not be written.
        target = [("org", self._org), ("bucket", self._bucket), ("precision", "ns")]
        self._call("/api/v2/write", "POST", target)
        self._prepared = True

    def _call(self, path: str, method: str, query: list[tuple[str, str]]) -> None:
        """Call another endpoint. Raises Outage when it does not succeed."""
        try:
            self._api.call_api(
                path, method, query_params=query, _request_timeout=PING_TIMEOUT_MILLISECONDS
            )
        except ApiException as error:
            raise errors.outage_class(error.status).writing() from None
        except urllib3.exceptions.HTTPError as error:
            raise errors.unreachable_class(error).writing() from None
