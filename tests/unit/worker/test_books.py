from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.reconciliation.__main__ import main
from worker.reconciliation.ledger import Found, Job, Ledger
from worker.reconciliation.totals import Counts, Moves, Totals
from worker.settings import WorkerSettings
from worker.sinks.influxdb.reader import Kept, Rows
from worker.waiting import Outage

CANARY = "CANARY-e310"


def test_the_totals_add_up_or_differ() -> None:
    assert Totals(accepted=10, written=6, failed=1, in_flight=3).difference == 0
    assert Totals(accepted=10, written=6, failed=1, in_flight=2).difference == 1
    assert Totals(accepted=10, written=7, failed=1, in_flight=3).difference == -1


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 300)), max_size=50),
    st.integers(1, 7),
)
def test_the_ledger_counts_rows_whatever_their_order(
    rows: list[tuple[str, int]], piece: int
) -> None:
    ledger = Ledger()
    ledger.add_records([("A", b"old"), ("B", b"b")])
    ledger.add_records([("A", b"a")])
    task_ids = [f"{job}-{index}" for job, index in rows]
    for start in range(0, len(task_ids), piece):
        ledger.add_rows(task_ids[start : start + piece])
    expected = {"A": Found(), "B": Found()}
    for job, index in rows:
        expected[job].add(index)
    assert [*ledger.jobs()] == [
        Job("A", b"a", expected["A"], is_open=False, is_kept=False),
        Job("B", b"b", expected["B"], is_open=False, is_kept=False),
    ]
    assert [*ledger.strangers()] == []
    for job, found in expected.items():
        indexes = [index for each, index in rows if each == job]
        assert found.once == sum(1 << index for index in set(indexes))
        assert found.again == sum(1 << i for i in set(indexes) if indexes.count(i) > 1)
    ledger.close()


def test_rows_without_a_record_are_strangers() -> None:
    ledger = Ledger()
    ledger.add_records([("A", b"a")])
    ledger.add_rows(["A-0", "C-0", "no task", "D-99999999999", "", "x\n-1"])
    strangers = sorted(["C", "no task", "D-99999999999", "", "x\n"])
    assert [*ledger.strangers()] == strangers
    ledger.close()


def test_the_ledger_knows_what_is_open_and_where_its_message_is() -> None:
    ledger = Ledger()
    ledger.add_records([("A", b"a"), ("B", b"b"), ("C", b"c")])
    ledger.add_rows(["A-0", "O-0", "S-0"])
    ledger.add_open([("A", 3), ("O", 5), ("P", 1)])
    # Read twice, since it moved.
    ledger.add_open([("A", 2)])
    ledger.add_messages("waiting", ["A", "B", "A"])
    ledger.add_messages("fetched", ["A", "O", "O"])
    ledger.add_messages("dead", ["B", "C"])
    ledger.add_kept([("B", 9), ("C", 4)])
    ledger.add_kept([("B", 1)])
    assert ledger.interactions_open() == 2 + 5 + 1
    assert ledger.interactions_kept() == 1 + 4
    assert ledger.places() == {"waiting": 1, "fetched": 1}
    assert [*ledger.closed(1)] == [["B"], ["C"]]
    assert [*ledger.placed(500)] == [["A", "O"]]
    assert [*ledger.unplaced(500)] == [["P"]]
    assert [*ledger.strangers()] == ["S"]
    assert [(job.job_id, job.is_open, job.is_kept) for job in ledger.jobs()] == [
        ("A", True, False),
        ("B", False, True),
        ("C", False, True),
    ]
    ledger.drop_messages(["O"])
    assert [ledger.has_message(job) for job in "AO"] == [True, False]
    assert [*ledger.unplaced(500)] == [["O", "P"]]
    ledger.close()


@given(st.data())
def test_what_moves_while_it_is_read_is_no_difference(data: st.DataObject) -> None:
    """Jobs of one interaction each are opened, closed, failed and put back between the pieces of a
    reading that meets them in any order; only what was amiss before comes out as a difference.
    """
    numbers = st.integers(0, 6)
    is_open = set(range(data.draw(numbers)))
    dead: set[int] = set()
    amiss = data.draw(st.integers(-40, 40))
    accepted, written, failed = len(is_open) + amiss, 0, 0
    moves = Moves(Counts(accepted, written, failed))
    found: set[int] = set()
    stayed = set(is_open)
    total = len(is_open)
    for _ in range(4):
        found |= {job for job in is_open if data.draw(st.booleans())}
        for _ in range(data.draw(numbers)):
            step = data.draw(st.sampled_from(["open", "write", "fail", "put back"]))
            if step == "open":
                is_open.add(total)
                total += 1
                accepted += 1
            elif step == "put back" and dead:
                is_open.add(dead.pop())
                failed -= 1
            elif step == "write" and is_open:
                is_open.remove(data.draw(st.sampled_from(sorted(is_open))))
                written += 1
            elif step == "fail" and is_open:
                job = data.draw(st.sampled_from(sorted(is_open)))
                is_open.remove(job)
                dead.add(job)
                failed += 1
            stayed &= is_open
            moves.see(Counts(accepted, written, failed))
    # A reading in pieces may miss whatever moves, and nothing else.
    totals = moves.totals(len(found | stayed))
    moved = moves.opened + moves.closed
    assert (totals.accepted, totals.written, totals.failed) == (moves.first.accepted, 0, 0)
    if amiss == 0:
        assert totals.difference == 0
    elif abs(amiss) > moved:
        assert totals.difference * amiss > 0
    if not moved:
        assert totals.difference == amiss


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

    def rows(self, **settings: str) -> Rows:
        url = f"http://127.0.0.1:{self.server.server_port}"
        return Rows(WorkerSettings.model_validate({"influx_url": url, **settings}))


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
    assert answers.rows().kept() == Kept(12, 0)
    assert answers.rows(influx_bucket="logs/other").kept() == Kept(12, 168 * 3600 + 1801)
    assert {fields.get("rp") for fields, _ in answers.asked} == {None, "other"}


def test_no_rows_and_no_policies_are_nothing(answers: Answers) -> None:
    answers.answer = lambda query: (200, [NOTHING])
    assert answers.rows().kept() == Kept(0, 0)
    assert [*answers.rows().task_ids(1.5)] == []
    assert answers.asked[-1][0]["q"].endswith("WHERE time >= 1500000000")


def test_a_token_and_an_organization_go_along(answers: Answers) -> None:
    answers.answer = lambda query: (200, [NOTHING])
    assert [*answers.rows(influx_token="t", influx_org="o").task_ids(0)] == []
    ((fields, authorization),) = answers.asked
    assert (fields["db"], fields["org"], authorization) == ("logs", "o", "Token t")


def test_an_answer_comes_in_pieces_and_must_be_whole(answers: Answers) -> None:
    first = piece(["time", "task_id"], [[1, "A-0"], [2, "A-1"]], partial=True)
    last = piece(["time", "task_id"], [[3, "B-0"]])
    answers.answer = lambda query: (200, [first, last])
    assert [*answers.rows().task_ids(0)] == [["A-0", "A-1"], ["B-0"]]
    answers.answer = lambda query: (200, [first])
    with pytest.raises(Outage, match="ANSWER_CUT_OFF"):
        list(answers.rows().task_ids(0))


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
        (503, b"%s", "SERVER_ERROR"),
    ],
)
def test_a_refusal_is_told_without_its_words(
    answers: Answers, status: int, line: bytes, reason: str
) -> None:
    answers.answer = lambda query: (status, [line % CANARY.encode()])
    with pytest.raises(Outage) as caught:
        answers.rows().kept()
    assert caught.value.reason == reason
    assert CANARY not in caught.value.advice


@pytest.mark.parametrize("age", ["", "12", "h", "1w", "-1h", "1.5h"])
def test_an_age_has_a_number_and_a_unit(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([f"--since={age}"])
    assert caught.value.code == 2
    assert "for example 12h" in capsys.readouterr().err
