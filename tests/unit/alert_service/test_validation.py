from __future__ import annotations

import time

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from alert_service.validation import correct_time, violations_of
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest


def broken(**fields: object) -> list[tuple[str, str]]:
    request = RaiseAlertRequest(**({"event_type": "PII"} | fields))  # type: ignore[arg-type]
    return [(each.path, each.reason) for each in violations_of(request)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"alert_id": "12345678"},
        {"alert_id": "Ab-" * 21},
        {"event_type": "A"},
        {"event_type": "A" * 64},
        {"source": "svc.a:b/c@d-e_f", "request_id": "r" * 128},
        {"message": "ü" * 1000},
        {"raise_time": Timestamp(seconds=-1, nanos=999_999_999)},
    ],
)
def test_what_keeps_the_rules_passes(fields: dict[str, object]) -> None:
    assert broken(**fields) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"alert_id": "1234567"}, ("/alert_id", "BAD_ID")),
        ({"alert_id": "1" * 65}, ("/alert_id", "BAD_ID")),
        ({"alert_id": "../../etc/x"}, ("/alert_id", "BAD_ID")),
        ({"alert_id": "12345678\0"}, ("/alert_id", "BAD_ID")),
        ({"alert_id": "12345678\n"}, ("/alert_id", "BAD_ID")),
        ({"alert_id": "١٢٣٤٥٦٧٨"}, ("/alert_id", "BAD_ID")),
        ({"event_type": ""}, ("/event_type", "MISSING")),
        ({"event_type": "pii"}, ("/event_type", "BAD_WORD")),
        ({"event_type": "_A"}, ("/event_type", "BAD_WORD")),
        ({"event_type": "A" * 65}, ("/event_type", "BAD_WORD")),
        ({"event_type": "PII\n"}, ("/event_type", "BAD_WORD")),
        ({"raise_time": Timestamp(nanos=-1)}, ("/raise_time", "BAD_TIME")),
        ({"source": "a b"}, ("/source", "BAD_NAME")),
        ({"source": "a" * 129}, ("/source", "BAD_NAME")),
        ({"request_id": "\x1b[2J"}, ("/request_id", "BAD_NAME")),
        ({"message": "m" * 1001}, ("/message", "TOO_LONG")),
    ],
)
def test_each_rule_is_told_by_its_path(
    fields: dict[str, object], expected: tuple[str, str]
) -> None:
    assert broken(**fields) == [expected]


def test_no_description_repeats_what_was_sent() -> None:
    request = RaiseAlertRequest(
        alert_id="CANARY!", event_type="CANARY!", source="CANARY!", request_id="CANARY!"
    )
    found = violations_of(request)
    assert len(found) == 4
    assert "CANARY" not in repr(found)


def dated(seconds: int | None, is_external: bool) -> float:
    """Return how many seconds from now the alert is dated that says `seconds` from now."""
    request = RaiseAlertRequest()
    if seconds is not None:
        request.raise_time.seconds = int(time.time()) + seconds
    correct_time(request, is_external)
    return request.raise_time.ToNanoseconds() / 1e9 - time.time()


@pytest.mark.parametrize("is_external", [True, False])
def test_a_time_that_cannot_be_is_now(is_external: bool) -> None:
    assert abs(dated(None, is_external)) < 2
    assert abs(dated(30, is_external)) < 2
    assert abs(dated(8000 * 365 * 86400, is_external)) < 2
    assert abs(dated(-3600, is_external) + 3600) < 2


def test_only_the_mesh_tells_of_what_is_long_ago() -> None:
    assert abs(dated(-3 * 86400, is_external=False) + 3 * 86400) < 2
    assert abs(dated(-3 * 86400, is_external=True)) < 2
    assert abs(dated(-2000 * 365 * 86400, is_external=True)) < 2
