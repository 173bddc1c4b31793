"""Refusals of the gateway, with fakes for the parts outside."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from ingest_service.edge import EdgeServicer
from ingest_service.recorder import Unstored
from job_store.errors import QueueFull, QueueUnavailable
from mesh.errors import CallError
from sluice.edge.v1.edge_service_pb2 import RecordRefusalRequest
from tests.unit.ingest_service.test_intake import Scene

REQUEST_ID = "4120b07c-6bcf-4344-aa64-2faea0eebb48"
RULES = ["MALFORMED_JSON", "BAD_QUERY", "BODY_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"]


async def record(scene: Scene, **changes: str) -> str:
    fields: Any = {"rule": "BAD_QUERY", "client": "::1", "http_request_id": REQUEST_ID} | changes
    answer = await EdgeServicer(scene.intake).RecordRefusal(
        RecordRefusalRequest(**fields),
        Any,  # type: ignore[arg-type]
    )
    return answer.alert_id


@pytest.mark.parametrize("rule", RULES)
async def test_a_refusal_has_its_alert_before_its_row(rule: str) -> None:
    scene = Scene()
    alert_id = await record(scene, rule=rule)
    assert scene.log == ["alert", "record"]
    (alert,) = scene.alerts.raised
    assert alert.alert_id == alert_id == f"edge-{REQUEST_ID}"
    assert (alert.event_type, alert.at_edge, alert.client) == ("INVALID_INPUT", True, "::1")
    assert alert.http_request_id == REQUEST_ID
    assert [each.rule for each in alert.violations] == [rule]
    (decided,) = scene.recorder.recorded
    assert decided.alert_id == alert_id
    assert decided.data.string_value == f"[{rule.lower()}]"


async def test_what_is_counted_with_others_has_their_alert() -> None:
    scene = Scene()
    scene.alerts.folded = "edge-earlier"
    assert await record(scene) == "edge-earlier"
    assert scene.recorder.recorded[0].alert_id == "edge-earlier"


@pytest.mark.parametrize("error", [QueueUnavailable(), QueueFull()])
@pytest.mark.parametrize("part", ["alerts", "recorder"])
async def test_nothing_is_promised_when_a_part_fails(part: str, error: Unstored) -> None:
    scene = Scene()
    if part == "alerts":
        scene.alerts.error = error
    else:
        scene.recorder.errors = [error]
    with pytest.raises(CallError):
        await record(scene)
    assert scene.recorder.recorded == []


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": ""},
        {"rule": "NOPE"},
        {"rule": "bad_query"},
        {"client": "evil.example\n"},
        {"http_request_id": ""},
        {"http_request_id": "../../etc"},
        {"http_request_id": "x" * 1000},
    ],
)
async def test_what_no_gateway_says_is_refused(changes: dict[str, str]) -> None:
    scene = Scene()
    with pytest.raises(CallError) as caught:
        await record(scene, **changes)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [each.path for each in caught.value.fields] == [f"/{next(iter(changes))}"]
    assert scene.log == []
