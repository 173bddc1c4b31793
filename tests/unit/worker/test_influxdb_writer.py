from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from typing import Any, cast

import pytest
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st
from influxdb_client.rest import ApiException

from sluice.job.v1.job_pb2 import Interaction
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED
from worker.settings import WorkerSettings
from worker.sinks.influxdb.writer import InfluxDBWriter
from worker.sinks.sink import Row
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

    def __init__(self, judge: Callable[[list[str]], int | Exception]) -> None:
        self._judge = judge
        self.requests: list[list[str]] = []
        """The task ids of each."""
        self.words = b"partial write: field type conflict: " + CANARY

    def post_write_with_http_info(
        self, org: str, bucket: str, body: bytes, precision: str
    ) -> tuple[None, int, dict[str, str]]:
        assert (org, bucket, precision) == ("-", "logs", "ns")
        task_ids = re.findall(r'task_id="(\w+)"', body.decode())
        assert body.count(b"\n") + 1 == len(task_ids)
        self.requests.append(task_ids)
        verdict = self._judge(task_ids)
        if isinstance(verdict, Exception):
            raise verdict
        if verdict >= 300:
            untyped: Any = ApiException
            raise untyped(http_resp=Answer(verdict, self.words))
        return None, verdict, {}


def rows(*task_ids: str) -> list[Row]:
    return [Row(task_id, 17, Interaction(verdict=VERDICT_ACCEPTED)) for task_id in task_ids]


@pytest.fixture
def influx(monkeypatch: pytest.MonkeyPatch) -> InfluxDBWriter:
    influx = InfluxDBWriter(WorkerSettings())
    monkeypatch.setattr(influx, "_prepared", True)
    return influx


def answering(influx: InfluxDBWriter, judge: Callable[[list[str]], int | Exception]) -> Writes:
    writes = Writes(judge)
    untyped: Any = influx
    untyped._writes = writes
    return writes


def test_a_batch_is_one_request(influx: InfluxDBWriter) -> None:
    writes = answering(influx, lambda task_ids: 204)
    assert influx.write(rows("a", "b", "c")) == {}
    assert writes.requests == [["a", "b", "c"]]


def test_a_request_has_a_bound(influx: InfluxDBWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sinks.influxdb.writer.MOST_LINES", 2)
    writes = answering(influx, lambda task_ids: 400 if "d" in task_ids else 204)
    assert influx.write(rows(*"abcde")) == {3: "FIELD_TYPE_CONFLICT"}
    assert sorted(writes.requests) == [["a", "b"], ["c"], ["c", "d"], ["d"], ["e"]]


def test_nothing_is_no_request(influx: InfluxDBWriter) -> None:
    writes = answering(influx, lambda task_ids: 204)
    assert influx.write([]) == {}
    assert writes.requests == []


@given(
    st.integers(1, 64).flatmap(
        lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1)))
    ),
    st.sampled_from([400, 413, 422]),
)
@example((64, set(range(64))), 400)
@example((64, {31, 32}), 413)
def test_refused_rows_are_found(sizes: tuple[int, set[int]], status: int) -> None:
    size, bad = sizes
    refused = {str(number) for number in bad}
    influx = InfluxDBWriter(WorkerSettings())
    cast(Any, influx)._prepared = True
    writes = answering(influx, lambda task_ids: status if refused & set(task_ids) else 204)
    found = influx.write(rows(*map(str, range(size))))
    assert set(found) == bad
    assert set(found.values()) <= {"FIELD_TYPE_CONFLICT", "TOO_LARGE"}
    assert len(writes.requests) <= 1 + 2 * 6 * len(bad)
    written = {each for ids in writes.requests for each in ids if not refused & set(ids)}
    assert written == {str(number) for number in range(size)} - refused


@pytest.mark.parametrize(
    ("words", "error_class"),
    [
        (b"partial write: points beyond retention policy dropped=1", "POINT_TOO_OLD"),
        (b"unable to parse 'x': bad timestamp", "UNPARSABLE"),
        (b"time outside range", "TIME_OUT_OF_RANGE"),
        (b"something new", "REFUSED"),
    ],
)
def test_refusals_have_classes(influx: InfluxDBWriter, words: bytes, error_class: str) -> None:
    answering(influx, lambda task_ids: 400).words = words
    assert influx.write(rows("a")) == {0: error_class}


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
def test_outages(
    influx: InfluxDBWriter, judgement: int | Exception, reason: str, advised: bool
) -> None:
    answering(influx, lambda task_ids: judgement)
    with pytest.raises(Outage) as caught:
        influx.write(rows("a", "b"))
    assert caught.value.reason == reason
    assert bool(caught.value.advice) == advised
    assert CANARY.decode() not in "".join(traceback.format_exception(caught.value))


def test_an_outage_in_the_middle_ends_the_search(influx: InfluxDBWriter) -> None:
    answers = iter([400, 204, 503])
    answering(influx, lambda task_ids: next(answers))
    with pytest.raises(Outage):
        influx.write(rows("a", "b"))


@pytest.mark.parametrize("org", ["", "sluice"])
@pytest.mark.parametrize("reason", ["UNAUTHORIZED", "FORBIDDEN", "BUCKET_NOT_FOUND"])
def test_what_may_not_be_written_is_noticed_before_a_job_comes(
    monkeypatch: pytest.MonkeyPatch, org: str, reason: str
) -> None:
    influx = InfluxDBWriter(WorkerSettings(influx_org=org))
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
