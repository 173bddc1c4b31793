"""Alerts as earlier versions queued them, some of which could never be delivered."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from mesh.messages import length_delimited_field
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import DeliverAlert
from worker.alerts import MAX_ALERT_BYTES, parse_alert
from worker.dramatiq_queue.dead_letter import DeadLetter


def nested(kind: str, levels: int) -> Value:
    """Return a value of so many levels, made without a parser that would refuse it."""
    outer = Value()
    value = outer
    for _ in range(levels - 1):
        is_list = kind == "list"
        value = value.list_value.values.add() if is_list else value.struct_value.fields["k"]
    value.string_value = "deep"
    return outer


def nested_lists(levels: int) -> bytes:
    """Return a serialized Value: lists in lists, deeper than a library would write."""
    content = length_delimited_field(3, b"deep")
    for _ in range(levels - 1):
        content = length_delimited_field(6, length_delimited_field(1, content))
    return content


def an_alert(**fields: object) -> RaiseAlertRequest:
    alert = RaiseAlertRequest(alert_id="alert-01", event_type="PII", source="web", **fields)  # type: ignore[arg-type]
    alert.raise_time.seconds = 1_700_000_000
    alert.findings.add(detector="us_ssn", path="/data", end=11)
    alert.violations.add(path="/data", rule="TOO_DEEP", description="Flatten it.")
    return alert


def test_an_alert_is_read_as_it_was_queued() -> None:
    alert = an_alert(finding_count=3, violation_count=1)
    alert.payload.string_value = "as it was"
    assert parse_alert(DeliverAlert(alert=alert).SerializeToString()) == alert


@pytest.mark.parametrize("levels", [60, 5000])
def test_a_payload_that_lies_too_deep_goes_and_the_rest_stays(levels: int) -> None:
    alert = an_alert()
    data = length_delimited_field(
        1, length_delimited_field(5, nested_lists(levels)) + alert.SerializeToString()
    )
    with pytest.raises(DecodeError):
        DeliverAlert.FromString(data)
    read_alert = parse_alert(data)
    assert read_alert == an_alert(finding_count=1, violation_count=1, cut=True)


def test_an_alert_that_is_too_large_goes_without_its_payload() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * MAX_ALERT_BYTES
    for _ in range(100_000):
        alert.findings.add(detector="us_ssn", path="/data/" + "x" * 100)
    sent = parse_alert(DeliverAlert(alert=alert).SerializeToString())
    assert sent.cut
    assert sent.finding_count == 100_001
    assert not sent.HasField("payload")
    assert sent.ByteSize() < MAX_ALERT_BYTES
    alert = an_alert()
    alert.payload.string_value = "x" * 1024 * 1024
    assert parse_alert(DeliverAlert(alert=alert).SerializeToString()).payload == alert.payload


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff",
        length_delimited_field(1, b"\xff"),
        length_delimited_field(1, length_delimited_field(5, nested_lists(60))),
        length_delimited_field(2, b"x") + b"\x0b",
    ],
)
def test_what_holds_no_alert_is_a_dead_letter(data: bytes) -> None:
    with pytest.raises(DeadLetter, match="UNDECODABLE"):
        parse_alert(data)
