"""What callers of the JSON interface are promised, on the real mesh."""

import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from job_store.keys import ONLY
from tests.kit.client import JSON, Answer, Client, marker
from tests.kit.waiting import eventually

CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "data",
    ["hello", "", 0, -1.5, 1e300 * 0, True, [], {}, ["a", {"b": [None, 2.25]}], {"ü": "☃ \n"}],
)
def test_any_json_value_is_accepted_and_recorded_as_it_was_sent(client: Client, data: Any) -> None:
    answer = client.submit(data, source="e2e")
    assert answer.status == 200
    assert answer.json["message"] == "Task received and is being processed"
    assert set(answer.json) == {"message", "task_id"}
    task = client.finished(answer.json["task_id"])
    assert task["state"] == "TASK_STATE_SUCCEEDED"
    assert task["attempts"] == 1
    assert task["accept_time"] <= task["start_time"] <= task["end_time"] < task["expire_time"]
    (row,) = client.rows(f"task_id = '{answer.json['task_id']}'")
    assert json.loads(row["payload"]) == data
    assert row["source"] == "e2e"
    assert row["verdict"] == "accepted"


def test_ten_at_once_are_ten_received_lines_and_ten_rows(client: Client) -> None:
    note = marker()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: client.submit(f"{note} {n}"), range(10)))
    ids = {answer.json["task_id"] for answer in answers}
    assert len(ids) == 10

    def received() -> list[str] | None:
        told = [line["task_id"] for line in client.log_lines("worker", "received")]
        here = [task_id for task_id in told if task_id in ids]
        return here if len(here) == 10 else None

    assert set(eventually(received)) == ids
    for task_id in ids:
        client.finished(task_id)
        assert len(client.rows(f"task_id = '{task_id}'")) == 1


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({"data": "my ssn is 123-45-6789", "source": "e2e"}, "/data", "US_SSN"),
        ({"data": {"note": ["x", "card 4111 1111 1111 1111"]}}, "/data/note/1", "PAYMENT_CARD"),
        ({"data": "this is top secret"}, "/data", "KEYWORD"),
        ({"data": {"user_ssn": "x"}}, "/data/user_ssn", "KEYWORD"),
        ({"data": "fine", "source": "bob@example.com"}, "/source", "EMAIL"),
    ],
)
def test_what_must_not_be_sent_is_refused_reported_and_recorded_masked(
    client: Client, body: Any, path: str, reason: str
) -> None:
    answer = client.post("/submit", body)
    assert answer.status == 400
    assert answer.json["code"] == 3
    assert answer.detail("ErrorInfo")["reason"] == "CONTENT_REFUSED"
    named = {
        (each["field"], each["reason"]) for each in answer.detail("BadRequest")["field_violations"]
    }
    assert (path, reason) in named
    assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]

    alert_id = answer.detail("ErrorInfo")["metadata"]["alert_id"]
    file = client.reports()[alert_id]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    report = json.loads(file.read_text())
    assert report["alert"]["event_type"] == "PII"
    assert report["alert"]["raise_time"]
    assert report["alert"]["http_request_id"] == answer.headers["x-request-id"]
    told = body.get("source", "") if path != "/source" else ""
    assert report["alert"].get("source", "") == told
    assert "bob@example" not in json.dumps(client.get(f"/alerts/{alert_id}").json)
    assert any(each["detector"].upper() == reason for each in report["alert"]["findings"])
    assert report["payload"] == body["data"]

    (row,) = eventually(lambda: client.rows(f"alert_id = '{alert_id}'"))
    assert row["verdict"] == "rejected"
    for value in ("123-45-6789", "4111 1111", "bob@example"):
        assert value not in answer.body.decode() + json.dumps(row)


def test_many_findings_that_are_only_noted_are_kept_as_sent(client: Client) -> None:
    data = [f"10.1.{n // 250}.{n % 250 + 1}" for n in range(3_000)]
    task_id = client.post("/submit", {"data": data, "source": "e2e"}).json["task_id"]
    (row,) = eventually(lambda: client.rows(f"task_id = '{task_id}'"))
    assert json.loads(row["payload"]) == data
    assert (row["source"], row["detectors"]) == ("e2e", "private_ip_address")
    assert not row.get("masked_widely")


def test_where_more_is_masked_than_was_found_the_row_says_so(client: Client) -> None:
    body = {"data": ["bob@example.com"] * 3_000 + ["harmless"], "source": "e2e"}
    answer = client.post("/submit", body)
    assert answer.status == 400
    alert_id = answer.detail("ErrorInfo")["metadata"]["alert_id"]
    (row,) = eventually(lambda: client.rows(f"alert_id = '{alert_id}'"))
    assert row["masked_widely"] is True
    assert set(row["payload"]) == set('[*",]')
    assert row["source"] == "e2e"


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ({}, "/data", "MISSING"),
        ({"data": None}, "/data", "NULL"),
        ({"data": 2**60}, "/data", "INEXACT_INTEGER"),
        ({"data": "a\0b"}, "/data", "NUL"),
        ({"data": 1, "source": "no spaces"}, "/source", "BAD_NAME"),
        ({"data": 1, "request_id": "ä"}, "/request_id", "BAD_NAME"),
        ({"data": json.loads("[" * 33 + "]" * 33)}, "/data", "TOO_DEEP"),
        ({"data": [0] * 10_001}, "/data", "TOO_MANY_VALUES"),
    ],
)
def test_a_broken_rule_of_shape_is_refused_and_alerts(
    client: Client, body: Any, path: str, reason: str
) -> None:
    answer = client.post("/submit", body)
    assert answer.status == 400
    (named,) = answer.detail("BadRequest")["field_violations"]
    assert (named["field"], named["reason"]) == (path, reason)
    alert_id = answer.detail("ErrorInfo")["metadata"]["alert_id"]
    report = json.loads(client.reports()[alert_id].read_text())
    assert report["alert"]["event_type"] == "INVALID_INPUT"
    assert report["alert"]["violations"][0]["rule"] == reason


def test_nesting_that_protobuf_cannot_decode_is_refused_and_alerts(client: Client) -> None:
    deep = b'{"data":' + b"[" * 60 + b"]" * 60 + b"}"
    answer = client.call("POST", "/submit", deep, JSON)
    assert answer.status == 400
    assert answer.detail("ErrorInfo")["reason"] == "UNDECODABLE"
    assert alert_of(client, answer)["event_type"] == "INVALID_INPUT"


def alert_of(client: Client, answer: Answer) -> Any:
    """Return the alert that names an answer's HTTP request."""
    wanted = answer.headers["x-request-id"]

    def look() -> Any:
        for alert in client.get("/alerts?page_size=100").json["alerts"]:
            if alert["http_request_id"] == wanted:
                return alert
        return None

    return eventually(look)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code", "reason"),
    [
        ("POST", "/submit", b'{"data":"CANARY"', JSON, 400, 3, "INVALID_INPUT"),
        ("POST", "/submit", b'["CANARY"]', JSON, 400, 3, "INVALID_INPUT"),
        ("POST", "/submit", b'{"data":1,"source":["CANARY"]}', JSON, 400, 3, "INVALID_INPUT"),
        ("POST", "/submit?CANARY=1", b'{"data":1}', JSON, 400, 3, "INVALID_INPUT"),
        ("POST", "/submit", b'{"data":"\xff CANARY"}', JSON, 400, 3, "INVALID_INPUT"),
        ("GET", "/CANARY", None, {}, 404, 5, "PATH_UNKNOWN"),
        ("GET", "/submit", None, {}, 405, 12, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/status/CANARY", None, {}, 405, 12, "METHOD_NOT_ALLOWED"),
        ("POST", "/submit", b"CANARY" * 200_000, JSON, 413, 3, "BODY_TOO_LARGE"),
        ("POST", "/submit", b'{"data":"CANARY"}', {"Content-Type": "text/plain"}, 415, 3,
         "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", "/submit", b"data=CANARY", {}, 415, 3, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)  # fmt: skip
def test_what_the_gateway_refuses_has_the_same_shape_and_alerts(
    client: Client,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    code: int,
    reason: str,
) -> None:
    before = client.refused_at_edge()
    answer = client.call(method, path, body, headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"code", "message", "details"}
    assert answer.json["code"] == code
    assert answer.detail("ErrorInfo")["reason"] == reason
    assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]
    assert b"CANARY" not in answer.body
    # Those of one rule are one alert, which counts them.
    eventually(lambda: client.refused_at_edge() > before)
    assert b"CANARY" not in client.get("/alerts?event_type=INVALID_INPUT").body


@pytest.mark.parametrize("path", ["/submit", "/submit:batch"])
@pytest.mark.parametrize(
    ("query", "body", "headers", "status", "rule"),
    [
        ("", b'{"data":"CANARY"', JSON, 400, "MALFORMED_JSON"),
        ("", b'["CANARY"]', JSON, 400, "MALFORMED_JSON"),
        ("", b'{"request_id":["CANARY"]}', JSON, 400, "MALFORMED_JSON"),
        ("?CANARY=1", b"{}", JSON, 400, "BAD_QUERY"),
        ("", b"CANARY" * 800_000, JSON, 413, "BODY_TOO_LARGE"),
        ("", b'"CANARY"', {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_what_the_gateway_refuses_has_its_alert_and_its_row_when_the_caller_is_told(
    client: Client,
    path: str,
    query: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    rule: str,
) -> None:
    answer = client.call("POST", path + query, body, headers)
    assert answer.status == status
    assert not any(name.startswith("x-refused") for name in answer.headers)
    alert_id = answer.detail("ErrorInfo")["metadata"]["alert_id"]
    alert = client.get(f"/alerts/{alert_id}").json["alert"]
    assert alert["event_type"] == "INVALID_INPUT"
    assert [each["rule"] for each in alert["violations"]] == [rule]
    rows = eventually(lambda: client.rows(f"alert_id = '{alert_id}'"))
    assert {row["verdict"] for row in rows} == {"rejected"}
    assert {row["payload"] for row in rows} == {json.dumps(f"[{rule.lower()}]")}
    assert "CANARY" not in json.dumps([alert, rows]) + answer.body.decode()


@pytest.mark.parametrize(
    ("door", "method", "path", "body", "headers", "status", "rule"),
    [
        ("gateway", "POST", "/scan", b'{"data":"CANARY"', JSON, 400, "MALFORMED_JSON"),
        ("gateway", "POST", "/scan?CANARY=1", b"{}", JSON, 400, "BAD_QUERY"),
        ("gateway", "POST", "/scan", b"CANARY" * 200_000, JSON, 413, "BODY_TOO_LARGE"),
        ("gateway", "POST", "/scan", b"{}", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("gateway", "GET", "/alerts?CANARY=1", None, {}, 400, "BAD_QUERY"),
        ("gateway", "GET", "/status/x?CANARY=1", None, {}, 400, "BAD_QUERY"),
        ("alert_door", "POST", "/alert", b'{"CANARY"', JSON, 400, "MALFORMED_JSON"),
        ("alert_door", "POST", "/alert", b"CANARY" * 200_000, JSON, 413, "BODY_TOO_LARGE"),
        ("alert_door", "POST", "/alert", b"{}", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_only_submissions_leave_an_interaction(
    client: Client,
    door: str,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    rule: str,
) -> None:
    def told() -> int:
        # Those of a minute are one alert, which counts them.
        alerts = client.get("/alerts?event_type=INVALID_INPUT&page_size=500").json["alerts"]
        return sum(alert["count"] for alert in alerts if alert["violations"][0]["rule"] == rule)

    def refused() -> int:
        # What is accepted is there when no job is open.
        with redis.Redis.from_url(client.mesh.redis_url) as store:
            eventually(lambda: store.hlen(ONLY.open_jobs) == 0)
        return len(client.rows("verdict = 'rejected'"))

    before, rows = told(), refused()
    address = getattr(client.mesh, door)
    answer = client.call(method, path, body, headers, address=address)
    assert answer.status == status
    assert not any(name.startswith("x-refused") for name in answer.headers)
    assert answer.detail("ErrorInfo")["metadata"] == {}
    assert b"CANARY" not in answer.body
    eventually(lambda: told() > before)
    assert refused() == rows


def test_a_body_that_is_too_large_is_refused_before_it_is_there(client: Client) -> None:
    host, port = client.mesh.gateway.split(":")
    piece = b"x" * 100_000
    for length, chunk in (("Content-Length: 3000000", b"%s"), (CHUNKED, b"186a0\r\n%s\r\n")):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = f"POST /submit HTTP/1.1\r\nHost: {host}\r\n{length}\r\n"
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
            for _ in range(11):
                connection.sendall(chunk % piece)
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"alert_id":"' in answer


def test_after_a_refusal_a_client_can_go_on(client: Client) -> None:
    for body in (b"{", b'{"data":1}', b'{"data":"' + b"x" * 1_100_000 + b'"}', b'{"data":1}'):
        answer = client.call("POST", "/submit", body, JSON)
        assert answer.status == (200 if body == b'{"data":1}' else 413 if len(body) > 9 else 400)


@pytest.mark.parametrize(
    ("task_id", "reason"),
    [
        ("abc", "TASK_UNKNOWN"),
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ-0", "TASK_UNKNOWN"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV-0", "TASK_EXPIRED"),
    ],
)
def test_a_task_that_is_not_there_says_why(client: Client, task_id: str, reason: str) -> None:
    answer = client.get(f"/status/{task_id}")
    assert answer.status == 404
    assert answer.detail("ErrorInfo")["reason"] == reason


def test_a_watched_task_tells_its_states_until_the_last(client: Client) -> None:
    task_id = client.submit("watched").json["task_id"]
    lines = client.get(f"/status/{task_id}:watch").body.splitlines()
    states = [json.loads(line)["task"]["state"] for line in lines]
    assert states[-1] == "TASK_STATE_SUCCEEDED"
    assert states == list(dict.fromkeys(states))


def test_a_batch_gives_each_submission_its_own_verdict(client: Client) -> None:
    answer = client.post(
        "/submit:batch",
        {"submissions": [{"data": 1}, {"data": "ssn 123-45-6789"}, {}, {"data": 2}]},
    )
    assert answer.status == 200
    assert (answer.json["accepted"], answer.json["rejected"]) == (2, 2)
    first, refused, invalid, last = answer.json["results"]
    for accepted in (first, last):
        assert accepted["verdict"] == "VERDICT_ACCEPTED"
        assert client.finished(accepted["task_id"])["state"] == "TASK_STATE_SUCCEEDED"
    for rejected, reason in ((refused, "CONTENT_REFUSED"), (invalid, "INVALID_INPUT")):
        assert rejected["verdict"] == "VERDICT_REJECTED"
        assert rejected["task_id"] == ""
        assert rejected["error"]["code"] == 3
        assert any(each.get("reason") == reason for each in rejected["error"]["details"])


@pytest.mark.parametrize("count", [0, 5001])
def test_a_batch_has_one_to_five_thousand(client: Client, count: int) -> None:
    answer = client.post("/submit:batch", {"submissions": [{"data": 1}] * count})
    assert answer.status == 400
    assert answer.detail("BadRequest")["field_violations"][0]["field"] == "/submissions"


def test_the_answer_to_a_batch_with_many_refusals_can_be_sent(client: Client) -> None:
    note, reports = "<é" + "n" * 100, len(client.reports())
    refused = [{"data": {f"{note}{number}": "ssn 123-45-6789"}} for number in range(2200)]
    answer = client.post("/submit:batch", {"submissions": [{"data": 1}] * 2500 + refused})
    assert answer.status == 200
    assert (answer.json["accepted"], answer.json["rejected"]) == (2500, 2200)
    named = str(answer.json["results"][-1]["error"]["details"])
    assert "alert_id" in named
    assert "CONTENT_REFUSED" in named
    client.await_reports(reports + 2200)


def test_an_error_with_long_paths_is_told(client: Client) -> None:
    data = {"й" * 110 + str(number): "my ssn is 123-45-6789" for number in range(20)}
    answer = client.submit(data)
    assert answer.status == 400
    assert answer.detail("ErrorInfo")["reason"] == "CONTENT_REFUSED"
    assert answer.detail("ErrorInfo")["metadata"]["field_count"]
    assert answer.detail("BadRequest")["field_violations"]


def test_a_batch_with_a_request_id_is_recorded_once(client: Client) -> None:
    request_id = marker().replace(" ", "-")
    texts = ["a", "my ssn is 123-45-6789", "b" * 600_000, "c"]
    body = {"submissions": [{"data": text} for text in texts], "request_id": request_id}
    first, again = client.post("/submit:batch", body), client.post("/submit:batch", body)
    assert first.status == 200

    def without_request_ids(answer: Answer) -> list[Any]:
        results: list[Any] = answer.json["results"]
        for result in results:
            for detail in result.get("error", {}).get("details", []):
                detail.pop("request_id", None)
        return results

    assert without_request_ids(again) == without_request_ids(first)
    for result in first.json["results"]:
        if result["task_id"]:
            client.finished(result["task_id"])
    where = f"request_id = '{request_id}'"
    rows = eventually(lambda: found if len(found := client.rows(where)) >= len(texts) else None)
    assert len(rows) == len(texts)
    other = client.post("/submit:batch", {**body, "submissions": [{"data": "ssn 123-45-6789"}]})
    assert other.status == 409
    assert other.detail("ErrorInfo")["reason"] == "REQUEST_ID_REUSED"
    body["submissions"] = [{"data": 1, "request_id": "own"}]
    assert client.post("/submit:batch", body).status == 400
    assert len(client.rows(where)) == len(texts)


@pytest.mark.parametrize("data", ["a fine text", "my ssn is 123-45-6789"])
def test_a_repeated_request_id_gives_the_same_answer_one_row_and_one_report(
    client: Client, data: str
) -> None:
    request_id = marker().replace(" ", "-")
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: client.submit(data, request_id=request_id), range(5)))
    answers.append(client.submit(data, request_id=request_id))
    assert len({answer.status for answer in answers}) == 1
    if answers[0].status == 200:
        assert len({answer.json["task_id"] for answer in answers}) == 1
    else:
        alerts = {answer.detail("ErrorInfo")["metadata"]["alert_id"] for answer in answers}
        assert len(alerts & set(client.reports())) == len(alerts) == 1
        fields = [answer.detail("BadRequest") for answer in answers]
        assert fields == [fields[0]] * len(fields)
    rows = eventually(lambda: client.rows(f"request_id = '{request_id}'"))
    assert len(rows) == 1

    other = client.submit("another text", request_id=request_id)
    assert other.status == 409
    assert other.detail("ErrorInfo")["reason"] == "REQUEST_ID_REUSED"
    assert len(client.rows(f"request_id = '{request_id}'")) == 1


def test_scan_tells_and_records_nothing(client: Client) -> None:
    note = marker()
    reports = set(client.reports())
    answer = client.post("/scan", {"data": f"{note} 123-45-6789"})
    assert answer.status == 200
    assert answer.json["verdict"] == "VERDICT_REJECTED"
    assert "us_ssn" in {each["detector"] for each in answer.json["findings"]}
    assert client.post("/scan", {}).json["violations"][0]["rule"] == "MISSING"
    assert client.post("/scan", {"data": note}).json["verdict"] == "VERDICT_ACCEPTED"
    assert set(client.reports()) == reports
    assert client.rows(f"payload =~ /{note}/") == []


def test_the_alert_engine_has_a_door_of_its_own(client: Client) -> None:
    answer = client.post(
        "/alert",
        {"event_type": "MANUAL", "source": "ops", "payload": {"why": "a drill"}},
        address=client.mesh.alert_door,
    )
    assert answer.status == 200
    report = json.loads(client.reports()[answer.json["alert_id"]].read_text())
    assert report["alert"]["event_type"] == "MANUAL"
    assert report["payload"] == {"why": "a drill"}
    refused = client.post("/alert", {"event_type": "no good"}, address=client.mesh.alert_door)
    assert refused.status == 400
    assert refused.detail("BadRequest")["field_violations"][0]["field"] == "/event_type"


def test_alerts_are_listed_newest_first_in_pages_without_payloads(client: Client) -> None:
    note = marker()
    raised = [
        client.post("/alert", {"event_type": "PAGED", "payload": note}).json["alert_id"]
        for _ in range(5)
    ]
    first = client.get("/alerts?page_size=3").json
    second = client.get(f"/alerts?page_size=3&page_token={first['next_page_token']}").json
    listed = [alert["alert_id"] for alert in first["alerts"] + second["alerts"]]
    assert listed[:5] == raised[::-1]
    assert note not in json.dumps([first, second])
    (one,) = client.get(f"/alerts/{raised[0]}").json.values()
    assert one["alert_id"] == raised[0]
    missing = client.get("/alerts/0123456789abcdef")
    assert missing.status == 404
    assert missing.detail("ErrorInfo")["reason"] == "ALERT_UNKNOWN"
    assert client.get("/alerts?page_size=501").status == 400


def test_a_browser_on_this_machine_may_call(client: Client) -> None:
    asks = {"Access-Control-Request-Method": "POST"}
    ours = client.call("OPTIONS", "/submit", headers={"Origin": "http://localhost:3000", **asks})
    assert ours.status == 200
    assert ours.headers["access-control-allow-origin"] == "http://localhost:3000"
    other = client.call("OPTIONS", "/submit", headers={"Origin": "http://evil.example", **asks})
    assert "access-control-allow-origin" not in other.headers
