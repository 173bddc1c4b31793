from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from alert_service.text import (
    MAX_INDENTED_BYTES,
    PAYLOAD_LINE,
    UnreadableReport,
    parse_alert,
    to_text,
)
from sluice.alert.v1.alert_service_pb2 import Alert, Report
from sluice.verdict.v1.verdict_pb2 import Finding, Violation

ALERT = Alert(
    alert_id="alert-01",
    event_type="PII",
    source="billing",
    findings=[Finding(detector="us_ssn", path='/data/a\n  "payload": /b', start=3, end=14)],
    violations=[Violation(path="/data", rule="TOO_DEEP", description="Flatten it.")],
    message='a "message"',
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text()
    # Adding zero makes a negative zero positive: as an integer it has no sign.
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def value_of(payload: Any) -> Value:
    return json_format.ParseDict(payload, Value())


def test_a_report_is_readable_json_with_the_names_of_the_contract() -> None:
    text = to_text(Report(alert=ALERT, payload=value_of({"ssn": "123-45-6789", "n": 3})))
    assert text.decode().splitlines()[:4] == [
        "{",
        '  "alert": {',
        '    "alert_id": "alert-01",',
        '    "event_type": "PII",',
    ]
    assert text.endswith(b'  "payload": {\n    "n": 3,\n    "ssn": "123-45-6789"\n  }\n}\n')
    assert "raise_time" not in json.loads(text)["alert"]


@given(JSON)
def test_a_report_parses_as_the_message_that_it_prints(payload: Any) -> None:
    report = Report(alert=ALERT, payload=value_of(payload))
    text = to_text(report)
    assert json_format.Parse(text, Report()) == report
    assert parse_alert(text) == ALERT
    assert parse_alert(text[: text.index(PAYLOAD_LINE) + len(PAYLOAD_LINE)]) == ALERT


def fill(message: Message) -> Message:
    """Give every field a value, each list two, and every word of the contract its turn."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            one = getattr(message, field.name)
            for inner in (one.add(), one.add()) if field.is_repeated else (one,):
                inner.SetInParent()
                fill(inner)
        else:
            value = {
                field.TYPE_STRING: 'a "b"\n\u00e9',
                field.TYPE_UINT32: 2**32 - 1,
                field.TYPE_INT32: 12,
                field.TYPE_INT64: 12,
                field.TYPE_BOOL: True,
                field.TYPE_ENUM: 2,
            }[field.type]
            if field.is_repeated:
                getattr(message, field.name).extend([value, value])
            else:
                setattr(message, field.name, value)
    return message


def test_every_field_of_an_alert_is_printed_as_protocol_buffers_do() -> None:
    alert = Alert()
    fill(alert)
    printed = json.loads(to_text(Report(alert=alert)))["alert"]
    assert printed == json_format.MessageToDict(alert, preserving_proto_field_name=True)
    assert parse_alert(to_text(Report(alert=alert))) == alert


def test_a_word_of_a_later_contract_is_printed_as_its_number() -> None:
    finding = Finding(detector="us_ssn")
    finding.MergeFromString(bytes([Finding.DESCRIPTOR.fields_by_name["kind"].number << 3, 99]))
    alert = Alert(findings=[finding])
    assert json.loads(to_text(Report(alert=alert)))["alert"]["findings"][0]["kind"] == 99
    assert parse_alert(to_text(Report(alert=alert))) == alert


def test_a_finding_has_a_line() -> None:
    text = to_text(Report(alert=Alert(findings=[Finding(detector="a"), Finding(detector="b")])))
    assert text.decode().splitlines()[2:6] == [
        '    "findings": [',
        '      {"detector": "a"},',
        '      {"detector": "b"}',
        "    ]",
    ]


def test_a_report_without_payload_has_none() -> None:
    text = to_text(Report(alert=ALERT))
    assert set(json.loads(text)) == {"alert"}
    assert parse_alert(text) == ALERT


def test_a_null_payload_stays_null() -> None:
    assert json.loads(to_text(Report(alert=ALERT, payload=value_of(None))))["payload"] is None


def test_numbers_that_json_has_not_are_kept_as_text() -> None:
    payload = Value()
    for number in (float("nan"), float("inf"), float("-inf"), 1e300, 0.5, 2.0**53):
        payload.list_value.values.add(number_value=number)
    payload.list_value.values.add()
    text = to_text(Report(alert=ALERT, payload=payload))
    assert json.loads(text)["payload"] == [
        *("NaN", "Infinity", "-Infinity"),
        *(1e300, 0.5, 2**53, None),
    ]
    assert parse_alert(text) == ALERT


def test_a_large_payload_takes_one_line() -> None:
    report = Report(alert=ALERT, payload=value_of([None] * MAX_INDENTED_BYTES))
    text = to_text(report)
    assert len(text) < 10 * report.ByteSize()
    assert json_format.Parse(text, Report()) == report


def test_what_a_terminal_would_obey_is_escaped() -> None:
    text = to_text(Report(alert=ALERT, payload=value_of("\x1b[2J\x9b2J\u202e\x00")))
    assert text.isascii()
    assert not set(text) & set(range(32)) - {ord("\n")}


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1]", b'{"alert": 3}', b"\xff", b'{"alert": {"alert_id": 7}}', b"[" * 100_000],
)
def test_what_is_no_report_is_unreadable(text: bytes) -> None:
    with pytest.raises(UnreadableReport):
        parse_alert(text)


def test_an_alert_that_is_torn_is_unreadable() -> None:
    text = to_text(Report(alert=ALERT, payload=value_of({"a": [1, 2, 3]})))
    for end in range(text.index(PAYLOAD_LINE) + len(PAYLOAD_LINE) - 1):
        with pytest.raises(UnreadableReport):
            parse_alert(text[:end])


def test_a_field_of_a_later_contract_is_passed_over() -> None:
    text = to_text(Report(alert=ALERT)).replace(b'"source"', b'"later": 1,\n    "source"')
    assert parse_alert(text) == ALERT
