from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from worker.settings import WorkerSettings
from worker.sinks.influxdb.reader import InfluxDBReader
from worker.sinks.sink import Contents
from worker.waiting import Outage

CANARY = "CANARY-e310"


class Answers:
    """Answers queries as a test says, each with a status and lines."""

    def __init__(self) -> None:
        self.answer: Callable[[str], tuple[int, list[bytes]]] = lambda query: (200, [])
        self.asked: list[tuple[dict[str, str], str]] = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fields = {
                    name: text for name, (text,) in parse_qs(urlsplit(self.path).query).items()
                }
                answers.asked.append((fields, self.headers.get("Authorization", "")))
                status, lines = answers.answer(fields["q"])
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"".join(line + b"\n" for line in lines))

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def reader(self, **settings: str) -> InfluxDBReader:
        url = f"http://127.0.0.1:{self.server.server_port}"
        return InfluxDBReader(WorkerSettings.model_validate({"influx_url": url, **settings}))


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()
    yield answers
    answers.server.shutdown()
    answers.server.server_close()


def piece(columns: list[str], values: list[list[Any]], *, partial: bool = False) -> bytes:
    series = {"name": "interactions", "columns": columns, "values": values}
    result: dict[str, Any] = {"statement_id": 0, "series": [series]}
    if partial:
        result["partial"] = True
    return json.dumps({"results": [result]}).encode()


NOTHING = b'{"results":[{"statement_id":0}]}'


def policies(query: str) -> tuple[int, list[bytes]]:
    if "RETENTION" in query:
        columns = ["name", "duration", "default"]
        values = [["kept", "0s", True], ["other", "168h30m1s", False]]
        return 200, [piece(columns, values)]
    return 200, [piece(["time", "count"], [[0, 12]])]


def test_rows_are_counted_in_the_policy_that_is_written(answers: Answers) -> None:
    answers.answer = policies
    assert answers.reader().contents() == Contents(12, 0)
    assert answers.reader(influx_bucket="logs/other").contents() == Contents(12, 168 * 3600 + 1801)
    assert {fields.get("rp") for fields, _ in answers.asked} == {None, "other"}


def test_no_rows_and_no_policies_are_nothing(answers: Answers) -> None:
    answers.answer = lambda query: (200, [NOTHING])
    assert answers.reader().contents() == Contents(0, 0)
    assert [*answers.reader().task_ids(1.5)] == []
    assert answers.asked[-1][0]["q"].endswith("WHERE time >= 1500000000")


def test_a_token_and_an_organization_go_along(answers: Answers) -> None:
    answers.answer = lambda query: (200, [NOTHING])
    assert [*answers.reader(influx_token="t", influx_org="o").task_ids(0)] == []
    ((fields, authorization),) = answers.asked
    assert (fields["db"], fields["org"], authorization) == ("logs", "o", "Token t")


def test_an_answer_comes_in_pieces_and_must_be_whole(answers: Answers) -> None:
    first = piece(["time", "task_id"], [[1, "A-0"], [2, "A-1"]], partial=True)
    last = piece(["time", "task_id"], [[3, "B-0"]])
    answers.answer = lambda query: (200, [first, last])
    assert [*answers.reader().task_ids(0)] == [["A-0", "A-1"], ["B-0"]]
    answers.answer = lambda query: (200, [first])
    with pytest.raises(Outage, match="ANSWER_CUT_OFF"):
        list(answers.reader().task_ids(0))


@pytest.mark.parametrize(
    ("status", "line", "reason"),
    [
        (200, b'{"results":[{"error":"%s"}]}', "QUERY_REFUSED"),
        (200, b'{"error":"%s"}', "NOT_INFLUXDB"),
        (200, b"<html>%s", "NOT_INFLUXDB"),
        (401, b'{"error":"%s"}', "UNAUTHORIZED"),
        (403, b'{"error":"%s"}', "FORBIDDEN"),
        (404, b"%s", "BUCKET_NOT_FOUND"),
        (418, b"%s", "NOT_INFLUXDB"),
        (429, b"%s", "OVERLOADED"),
        (503, b"%s", "SERVER_ERROR"),
    ],
)
def test_a_refusal_is_told_without_its_words(
    answers: Answers, status: int, line: bytes, reason: str
) -> None:
    answers.answer = lambda query: (status, [line % CANARY.encode()])
    with pytest.raises(Outage) as caught:
        answers.reader().contents()
    assert caught.value.reason == reason
    assert caught.value.advice
    assert CANARY not in caught.value.advice
