"""Hostile JSON: what is refused, what passes, and what it then means."""

import json
from typing import Any

import pytest

from tests.kit.client import JSON, Answer, Client

SSN = "123-45-6789"


def post(client: Client, body: bytes, path: str = "/submit", media_type: str = "") -> Answer:
    headers = {"Content-Type": media_type} if media_type else JSON
    return client.call("POST", path, body, headers)


def with_data(text: bytes) -> bytes:
    return b'{"data":' + text + b"}"


def require_error(answer: Answer, status: int, reason: str = "") -> None:
    """Check an error's status and shape, and its reason when one is given."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"code", "message", "details"}
    assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]
    if reason:
        assert answer.detail("ErrorInfo")["reason"] == reason


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e309", "-1e309", "1" * 5000, "9223372036854775808",
     "9007199254740993", "-9007199254740992", "0x10", "01", "+1", ".5", "-", "1_000", "1e", "٣"],
)  # fmt: skip
def test_a_number_that_no_double_holds_exactly_is_refused(client: Client, number: str) -> None:
    require_error(post(client, with_data(number.encode())), 400)


@pytest.mark.parametrize(
    ("number", "recorded"),
    [("5.", 5), ("-0", 0), ("1E5", 100_000), ("1e-400", 0), ("9007199254740991", 2**53 - 1),
     ('"NaN"', "NaN"), ('"-Infinity"', "-Infinity"), ('"1e309"', "1e309")],
)  # fmt: skip
def test_other_spellings_of_a_number_are_recorded_as_what_they_mean(
    client: Client, number: str, recorded: Any
) -> None:
    answer = post(client, with_data(number.encode()))
    assert answer.status == 200
    client.finished(answer.json["task_id"])
    (row,) = client.rows(f"task_id = '{answer.json['task_id']}'")
    assert json.loads(row["payload"]) == recorded


@pytest.mark.parametrize("size", ["1.5", "99999999999999", "-1", "NaN", "0x10", "", "1e999"])
def test_an_integer_in_a_query_has_to_be_one(client: Client, size: str) -> None:
    require_error(client.get(f"/alerts?page_size={size}"), 400, "INVALID_INPUT")


def test_an_integer_field_takes_no_fraction_and_no_overflow(client: Client) -> None:
    for start in (b"1.5", b"4294967296", b"-1", b'"NaN"'):
        body = b'{"event_type":"X","findings":[{"start":' + start + b"}]}"
        require_error(post(client, body, "/alert"), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"data":"123-45-6789","data":"fine"}', set()),
        (b'{"data":"fine","data":"123-45-6789"}', {"/data"}),
        (b'{"data":{"a":"123-45-6789"},"data":"fine"}', set()),
        (b'{"data":"fine","source":"bob@example.com","source":"a"}', set()),
        # Two objects, or two lists, are joined: protobuf merges what a field is given twice.
        (b'{"data":{"a":"123-45-6789"},"data":{"b":"fine"}}', {"/data/a"}),
        (b'{"data":["123-45-6789"],"data":["fine"]}', {"/data/0"}),
    ],
)
def test_of_a_key_sent_twice_the_last_counts_and_what_counts_is_judged(
    client: Client, body: bytes, found: set[str]
) -> None:
    answer = post(client, body, "/scan")
    assert answer.status == 200
    assert {each["path"] for each in answer.json["findings"]} == found


def test_a_key_sent_twice_within_data_is_refused(client: Client) -> None:
    require_error(post(client, with_data(b'{"a":1,"a":2}')), 400, "INVALID_INPUT")


def test_an_unknown_field_is_ignored_and_not_kept(client: Client) -> None:
    answer = post(client, b'{"data":1,"unknown":"123-45-6789"}')
    assert answer.status == 200
    client.finished(answer.json["task_id"])
    (row,) = client.rows(f"task_id = '{answer.json['task_id']}'")
    assert SSN not in json.dumps(row)


def test_an_unknown_query_parameter_is_refused(client: Client) -> None:
    require_error(client.call("POST", "/submit?x=1", b'{"data":1}', JSON), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "body", [b"{'data':'x'}", b'{data:"x"}', b'{"data":"x",}', b'{"data":"\\x",}']
)
def test_the_parser_is_lenient_and_only_its_result_is_used(client: Client, body: bytes) -> None:
    answer = post(client, body)
    assert answer.status == 200
    client.finished(answer.json["task_id"])
    (row,) = client.rows(f"task_id = '{answer.json['task_id']}'")
    assert json.loads(row["payload"]) == "x"


@pytest.mark.parametrize(
    "body",
    [b'{"data":1}x', b'{"data":1}{"data":2}', b'{"data":1/*x*/}', b'//x\n{"data":1}',
     b'\xef\xbb\xbf{"data":1}', '{"data":1}'.encode("utf-16"), b"[]", b"null", b'"x"', b"1", b" "],
)  # fmt: skip
def test_what_is_not_one_json_object_is_refused(client: Client, body: bytes) -> None:
    require_error(post(client, body), 400, "INVALID_INPUT")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data":null}', b'{"source":"a"}'])
def test_an_empty_body_lacks_what_is_required(client: Client, body: bytes) -> None:
    answer = post(client, body)
    require_error(answer, 400, "INVALID_INPUT")
    assert answer.detail("BadRequest")["field_violations"][0]["field"] == "/data"


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82",
     b"\\ud800", b"\\udc00\\ud800", b"\\ud83d\\u0041"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [b'{"data":"%s"}', b'{"data":{"%s":1}}', b'{"data":1,"x":"%s"}'])
def test_text_that_is_not_utf8_is_refused(client: Client, shape: bytes, text: bytes) -> None:
    if shape.endswith(b',"x":"%s"}'):
        # Nobody reads an unknown field, so either answer is right; it is only never a 500.
        assert post(client, shape % text).status in {200, 400}
    else:
        require_error(post(client, shape % text), 400, "INVALID_INPUT")


def test_a_surrogate_pair_is_one_character(client: Client) -> None:
    answer = post(client, b'{"data":"\\ud83d\\ude00"}')
    client.finished(answer.json["task_id"])
    (row,) = client.rows(f"task_id = '{answer.json['task_id']}'")
    assert json.loads(row["payload"]) == "\U0001f600"


@pytest.mark.parametrize("text", [b"\\u0000", b"a\0b"])
def test_nul_is_refused_wherever_it_stands(client: Client, text: bytes) -> None:
    for body in (
        b'{"data":"%s"}' % text,
        b'{"data":{"%s":1}}' % text,
        b'{"data":1,"source":"%s"}' % text,
        b'{"data":1,"request_id":"%s"}' % text,
    ):
        require_error(post(client, body), 400, "INVALID_INPUT")


@pytest.mark.parametrize("text", [b"\\u0001", b"\\n", b"\\u001b[31m", b"\\u0085", b"\\u202e"])
def test_control_characters_are_data_but_no_part_of_a_name(client: Client, text: bytes) -> None:
    answer = post(client, b'{"data":"a%sb"}' % text)
    assert answer.status == 200
    client.finished(answer.json["task_id"])
    (row,) = client.rows(f"task_id = '{answer.json['task_id']}'")
    assert json.loads(row["payload"]) == json.loads(b'"a%sb"' % text)
    for name in (b"source", b"request_id"):
        require_error(post(client, b'{"data":1,"%s":"a%sb"}' % (name, text)), 400, "INVALID_INPUT")


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize(
    ("depth", "status"),
    [(30, 200), (32, 200), (33, 400), (60, 400), (99, 400), (200, 400), (30_000, 400)],
)
def test_depth_is_limited_without_a_500(
    client: Client, opening: bytes, closing: bytes, depth: int, status: int
) -> None:
    answer = post(client, with_data(opening * depth + b"1" + closing * depth))
    assert answer.status == status
    if status != 200:
        require_error(answer, 400)


def text_of(size: int) -> bytes:
    return with_data(b'"' + b"word " * (size // 5) + b'"')


def test_70_kb_pass_and_2_mb_do_not(client: Client) -> None:
    assert post(client, text_of(70_000)).status == 200
    assert post(client, text_of(1_000_000), "/scan").status == 200
    for path in ("/submit", "/scan", "/alert"):
        require_error(post(client, text_of(2_000_000), path), 413, "BODY_TOO_LARGE")
    require_error(
        client.call("POST", "/alert", text_of(2_000_000), JSON, address=client.mesh.alert_door),
        413,
        "BODY_TOO_LARGE",
    )


def test_a_batch_may_be_4_mib_and_each_submission_1(client: Client) -> None:
    large = post(client, b'{"submissions":[%s]}' % text_of(2_000_000), "/submit:batch")
    assert large.status == 200
    assert large.json["rejected"] == 1
    too_large = post(client, b'{"submissions":[%s]}' % text_of(5_000_000), "/submit:batch")
    require_error(too_large, 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("path", ["/submit", "/submit:batch", "/scan", "/alert"])
@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/xml", "application/jsonx", "application/json-patch+json"],
)  # fmt: skip
def test_only_json_is_taken(client: Client, path: str, media_type: str) -> None:
    answer = post(client, b'{"data":1}', path, media_type)
    require_error(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_json_has_one_encoding_whatever_its_media_type_says(client: Client) -> None:
    assert post(client, b'{"data":1}', media_type="Application/JSON; charset=utf-8").status == 200
    assert post(client, b'{"data":1}', media_type="application/json; charset=utf-16").status == 200
    body = '{"data":1}'.encode("utf-16-le")
    require_error(post(client, body, media_type="application/json; charset=utf-16"), 400)
