from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from influxdb_client.rest import ApiException

from worker.settings import WorkerSettings
from worker.sinks.influxdb.writer import Influx
from worker.waiting import Outage

CANARY = b"CANARY-9d2e"


class Answer:
    """An answer of InfluxDB as the client hands it on."""

    def __init__(self, status: int, data: bytes) -> None:
        self.status = status
        self.reason = "x"
        self.data = data

    def getheaders(self) -> dict[str, str]:
        return {"X-Influxdb-Error": self.data.decode()}

    def getheader(self, name: str) -> str | None:
        return self.getheaders().get(name)


class Writes:
    """Stands in for the client's WriteService."""

    def __init__(self, judge: Callable[[list[bytes]], int | Exception]) -> None:
        self._judge = judge
        self.requests: list[list[bytes]] = []
        self.words = b"partial write: field type conflict: " + CANARY

    def post_write_with_http_info(
        self, org: str, bucket: str, body: bytes, precision: str
    ) -> tuple[None, int, dict[str, str]]:
        assert (org, bucket, precision) == ("-", "logs", "ns")
        lines = body.split(b"\n")
        self.requests.append(lines)
        verdict = self._judge(lines)
        if isinstance(verdict, Exception):
            raise verdict
        if verdict >= 300:
            untyped: Any = ApiException
            raise untyped(http_resp=Answer(verdict, self.words))
        return None, verdict, {}


@pytest.fixture
def influx(monkeypatch: pytest.MonkeyPatch) -> Influx:
    influx = Influx(WorkerSettings())
    monkeypatch.setattr(influx, "_prepared", True)
    return influx


def answering(influx: Influx, judge: Callable[[list[bytes]], int | Exception]) -> Writes:
    writes = Writes(judge)
    untyped: Any = influx
    untyped._writes = writes
    return writes


def test_a_batch_is_one_request(influx: Influx) -> None:
    writes = answering(influx, lambda lines: 204)
    assert influx.write([b"a", b"b", b"c"]) == {}
    assert writes.requests == [[b"a", b"b", b"c"]]


def test_nothing_is_no_request(influx: Influx) -> None:
    writes = answering(influx, lambda lines: 204)
    assert influx.write([]) == {}
    assert writes.requests == []


@pytest.mark.parametrize("bad", [{0}, {63}, {31, 32}, {5, 6, 7, 40}, set(range(64)), set()])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_lines_are_found(influx: Influx, bad: set[int], status: int) -> None:
    refused = {b"%d" % number for number in bad}
    writes = answering(influx, lambda lines: status if refused & set(lines) else 204)
    found = influx.write([b"%d" % number for number in range(64)])
    assert set(found) == bad
    assert set(found.values()) <= {"FIELD_TYPE_CONFLICT", "TOO_LARGE"}
    assert len(writes.requests) <= 1 + 2 * 6 * len(bad)
    written = {each for lines in writes.requests for each in lines if not refused & set(lines)}
    assert written == {b"%d" % number for number in range(64)} - refused


@pytest.mark.parametrize(
    ("words", "error_class"),
    [
        (b"partial write: points beyond retention policy dropped=1", "POINT_TOO_OLD"),
        (b"unable to parse 'x': bad timestamp", "UNPARSABLE"),
        (b"time outside range", "TIME_OUT_OF_RANGE"),
        (b"something new", "REFUSED"),
    ],
)
def test_refusals_have_classes(influx: Influx, words: bytes, error_class: str) -> None:
    answering(influx, lambda lines: 400).words = words
    assert influx.write([b"a"]) == {0: error_class}


@pytest.mark.parametrize(
    ("judgement", "reason", "advised"),
    [
        (429, "OVERLOADED", False),
        (500, "SERVER_ERROR", False),
        (503, "SERVER_ERROR", False),
        (401, "UNAUTHORIZED", True),
        (403, "FORBIDDEN", True),
        (404, "BUCKET_NOT_FOUND", True),
        (302, "NOT_INFLUXDB", True),
        (405, "NOT_INFLUXDB", True),
        # An empty body, or a server that is no InfluxDB.
        (200, "NOT_INFLUXDB", True),
        (urllib3.exceptions.ProtocolError(CANARY.decode()), "UNREACHABLE", False),
        (urllib3.exceptions.ReadTimeoutError(None, "/", CANARY.decode()), "TIMEOUT", False),  # type: ignore[arg-type]
    ],
)
def test_outages(influx: Influx, judgement: int | Exception, reason: str, advised: bool) -> None:
    answering(influx, lambda lines: judgement)
    with pytest.raises(Outage) as caught:
        influx.write([b"a", b"b"])
    assert caught.value.reason == reason
    assert bool(caught.value.advice) == advised
    assert CANARY.decode() not in "".join(traceback.format_exception(caught.value))


def test_an_outage_in_the_middle_ends_the_search(influx: Influx) -> None:
    answers = iter([400, 204, 503])
    answering(influx, lambda lines: next(answers))
    with pytest.raises(Outage):
        influx.write([b"a", b"b"])


@pytest.mark.parametrize("org", ["", "sluice"])
@pytest.mark.parametrize("reason", ["UNAUTHORIZED", "FORBIDDEN", "BUCKET_NOT_FOUND"])
def test_what_may_not_be_written_is_noticed_before_a_job_comes(
    monkeypatch: pytest.MonkeyPatch, org: str, reason: str
) -> None:
    influx = Influx(WorkerSettings(influx_org=org))
    called: list[str] = []
    refused = {"/api/v2/write"}

    def call(path: str, method: str, query: list[tuple[str, str]]) -> None:
        called.append(path)
        # One who may write a database may still not create it.
        if path in refused or path == "/query":
            raise Outage(reason if path in refused else "FORBIDDEN")

    monkeypatch.setattr(influx, "_call", call)
    for _ in range(2):
        with pytest.raises(Outage) as caught:
            influx.ping()
        assert caught.value.reason == reason
    refused.clear()
    influx.ping()
    influx.ping()
    creating = [] if org else ["/query"]
    assert called == [*creating, "/api/v2/write"] * 3 + ["/ping", "/ping"]
