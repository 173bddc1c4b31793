"""The rows of InfluxDB: how many there are, and whose they are, read in pieces.

The query language is InfluxQL, which 1.8 answers as it is and 2.x for every bucket that a database
name is mapped to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import urllib3

from worker.settings import WorkerSettings
from worker.sinks.influxdb import errors
from worker.sinks.influxdb.lines import MEASUREMENT
from worker.sinks.sink import Contents

CONNECT_SECONDS = 2.0
READ_SECONDS = 60.0
"""For one piece; counting all rows of a large database is one piece, too."""
CHUNK = 10_000

OK = 200

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class InfluxDBReader:
    """The rows in one bucket or database: a worker.sinks.sink.SinkReader.

    Nothing that InfluxDB answers but numbers and task ids leaves this class.
    """

    title = "InfluxDB"

    def __init__(self, settings: WorkerSettings) -> None:
        self._url = f"{settings.influx_url.rstrip('/')}/query"
        database, _, self._policy = settings.influx_bucket.partition("/")
        self._fields = {"db": database, "epoch": "ns"}
        if self._policy:
            self._fields["rp"] = self._policy
        if settings.influx_org:
            self._fields["org"] = settings.influx_org
        token = settings.influx_token.get_secret_value()
        self._headers = {"Authorization": f"Token {token}"} if token else {}
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        )

    def contents(self) -> Contents:
        """Return how many rows there are, and for how long they are kept."""
        policies = [
            dict(zip(series["columns"], row, strict=True))
            for series in self._query("SHOW RETENTION POLICIES")
            for row in series["values"]
        ]
        (keeping,) = [
            each
            for each in policies
            if (each["name"] == self._policy if self._policy else each["default"])
        ] or [{"duration": "0s"}]
        rows = 0
        for series in self._query(f"SELECT count(task_id) FROM {MEASUREMENT}"):  # noqa: S608
            rows = int(series["values"][0][1])
        return Contents(rows, _seconds(str(keeping["duration"])))

    def task_ids(self, since: float) -> Iterator[list[str]]:
        """Yield the task id of every row since then (seconds since the Unix epoch), in pieces."""
        query = f"SELECT task_id FROM {MEASUREMENT} WHERE time >= {int(since * 1e9)}"  # noqa: S608
        for series in self._query(query):
            yield [row[1] for row in series["values"]]

    def _query(self, query: str) -> Iterator[Any]:
        """Yield the pieces of an answer, each on a line of its own."""
        fields = self._fields | {"q": query, "chunked": "true", "chunk_size": str(CHUNK)}
        try:
            answer = self._pool.request(
                "GET", self._url, fields=fields, headers=self._headers, preload_content=False
            )
            try:
                if answer.status != OK:
                    raise errors.outage_class(answer.status).reading()
                whole = False
                for line in answer:
                    (result,) = _results(line)
                    yield from result.get("series", [])
                    whole = not result.get("partial", False)
            finally:
                answer.close()
        except urllib3.exceptions.HTTPError as error:
            raise errors.unreachable_class(error).reading() from None
        if not whole:
            raise errors.ANSWER_CUT_OFF.reading()


def _results(line: bytes) -> list[dict[str, Any]]:
    try:
        results: list[dict[str, Any]] = json.loads(line)["results"]
    except (ValueError, KeyError, TypeError):
        raise errors.NOT_INFLUXDB.reading() from None
    if len(results) != 1 or "error" in results[0]:
        raise errors.QUERY_REFUSED.reading()
    return results


def _seconds(duration: str) -> int:
    """Return a duration of InfluxDB, such as 168h0m0s, in seconds."""
    found = DURATION.fullmatch(duration)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return hours * 3600 + minutes * 60 + seconds
