from __future__ import annotations

import pytest

from alert_service.identity import restrict_external
from alert_service.validation import is_alert_id
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

HMAC_KEY = bytes(range(32))


def derived(hmac_key: bytes = HMAC_KEY, **fields: object) -> str:
    request = RaiseAlertRequest(**({"alert_id": "backup-01", "event_type": "DRILL"} | fields))  # type: ignore[arg-type]
    restrict_external(request, hmac_key)
    return request.alert_id


def test_a_repeated_call_has_the_same_identity() -> None:
    first = derived()
    assert first == derived()
    assert is_alert_id(first)
    assert first.startswith("ext-")


@pytest.mark.parametrize(
    "other",
    [
        {"alert_id": "backup-02"},
        {"event_type": "PII"},
        {"message": "another"},
        {"source": "other"},
        {"hmac_key": bytes(32)},
    ],
)
def test_another_call_under_the_same_id_has_another_identity(other: dict[str, object]) -> None:
    assert derived(**other) != derived()  # type: ignore[arg-type]


def test_a_derived_identity_cannot_be_chosen() -> None:
    assert derived(alert_id=derived()) != derived()


def test_nothing_is_derived_from_no_id() -> None:
    assert derived(alert_id="") == ""


def test_what_only_the_mesh_may_say_is_passed_over() -> None:
    request = RaiseAlertRequest(
        event_type="PII",
        at_edge=True,
        client="192.0.2.1",
        finding_count=7,
        violation_count=7,
        cut=True,
        detectors=["us_ssn"],
    )
    restrict_external(request, HMAC_KEY)
    assert request == RaiseAlertRequest(event_type="PII")
