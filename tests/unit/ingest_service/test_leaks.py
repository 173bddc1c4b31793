"""Nothing of what was refused leaves ingest but in the alert's payload, whatever rule it breaks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from ingest_service.gate import Gate
from ingest_service.intake import Intake
from ingest_service.servicer import IngestServicer
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.ingest.v1.ingest_service_pb2 import ScanRequest, SubmitRequest
from tests.unit.ingest_service.test_intake import FakeAlerts, FakeRecorder

SECRETS = {
    "social security number": "536-22-5587",
    "card": "4539148803436467",
    "address": "jane.roe@example.com",
}


def value(content: Any) -> Value:
    """Return a value; None is one without a kind."""
    if content is None:
        return Value()
    if isinstance(content, Value):
        return content
    made = Value()
    if isinstance(content, dict):
        made.struct_value.CopyFrom(Struct())
        for key, each in content.items():
            made.struct_value.fields[key].CopyFrom(value(each))
    elif isinstance(content, list):
        made.list_value.values.extend(map(value, content))
        made.list_value.SetInParent()
    elif isinstance(content, str):
        made.string_value = content
    else:
        made.number_value = content
    return made


def nested(content: Any, levels: int = 40) -> Any:
    for _ in range(levels):
        content = [content]
    return content


NULL = Value(null_value=NULL_VALUE)

SHAPES: dict[str, Any] = {
    "fine": lambda s: {"a": 1},
    "null": lambda s: NULL,
    "without a kind": lambda s: None,
    "without a kind below": lambda s: {s: None},
    "without a kind deep below": lambda s: {"a": {s: [1, {"b": [None]}]}},
    "not finite": lambda s: {s: {"n": math.nan}},
    "many not finite": lambda s: {f"{n} {s}": math.inf for n in range(300)},
    "inexact": lambda s: {s: 2.0**60},
    "NUL in a value": lambda s: {s: f"\0{s}"},
    "NUL in a key": lambda s: {f"\0 {s}": 1},
    "NUL in a key above": lambda s: {"a": {f"{s} \0": {"b\0": 1}}},
    "too deep": lambda s: {s: nested(s)},
    "too deep with keys": lambda s: {s: {s: nested({s: s})}},
    "too many": lambda s: {s: [s] * 10_001},
    "too many, in its last": lambda s: {"a": [0] * 10_001, s: math.nan},
    "a long key": lambda s: {"k" * 1_025 + s: math.nan, s: None},
    "a long path": lambda s: {s + "k" * 1_000: {"l" * 1_000: {"m" * 1_000: {"n" * 1_100: s}}}},
    "two keys alike": lambda s: {s: None, s + " ": {s: None}},
    "many findings": lambda s: {"a": [s] * 400, f"x {s}": {"b": [None]}},
    "many findings in keys": lambda s: {f"{n} {s}": [None] for n in range(400)},
    "a finding": lambda s: {s: s},
    "findings": lambda s: {s: {s: [s] * 400}},
}


def submissions(secret: str) -> Iterator[tuple[str, SubmitRequest]]:
    names: dict[str, Any] = {
        "": {},
        "source": {"source": secret},
        "request id": {"request_id": secret},
    }
    names["no source"] = {"source": f"no source {secret}"}
    names["no request id"] = {"request_id": f"{secret} \0"}
    for shape, make in SHAPES.items():
        for name, fields in names.items():
            yield f"{shape}, {name}", SubmitRequest(data=value(make(secret)), **fields)
    for name, fields in names.items():
        yield f"no data, {name}", SubmitRequest(**fields)
    yield "too long", SubmitRequest(data=value({secret: "x" * 1_100_000}), source=secret)


GATE = Gate(None)


class Scene:
    def __init__(self, gate: Gate = GATE) -> None:
        self.log: list[str] = []
        self.alerts = FakeAlerts(self.log)
        self.recorder = FakeRecorder(self.log)
        self.intake = Intake(gate, self.alerts, self.recorder)  # type: ignore[arg-type]


def told(alert: RaiseAlertRequest) -> bytes:
    listed = RaiseAlertRequest()
    listed.CopyFrom(alert)
    listed.ClearField("payload")
    return listed.SerializeToString()


def holds(secret: str, content: bytes) -> bool:
    digits = "".join(filter(str.isdigit, secret))
    return secret.encode() in content or (bool(digits) and digits.encode() in content)


@pytest.mark.parametrize("kind", SECRETS)
async def test_what_is_refused_is_told_without_what_it_holds(kind: str) -> None:
    secret = SECRETS[kind]
    count = 0
    with capture_logs() as logged:
        for name, submission in submissions(secret):
            scene = Scene()
            (outcome,) = await scene.intake.take([submission], lambda: "h")
            if name == "fine, ":
                assert isinstance(outcome, str)
                continue
            assert isinstance(outcome, CallError), name
            count += 1
            (alert,), (record,) = scene.alerts.raised, scene.recorder.recorded
            assert not holds(secret, outcome.status("h").SerializeToString()), name
            assert not holds(secret, told(alert)), name
            assert not holds(secret, record.SerializeToString()), name
            if outcome.reason == "INVALID_INPUT":
                assert record.data.string_value == "[withheld]", name
            request = ScanRequest(data=submission.data, source=submission.source)
            servicer = IngestServicer(scene.intake, None, 1)  # type: ignore[arg-type]
            answer = await servicer.Scan(request, None)  # type: ignore[arg-type]
            assert not holds(secret, answer.SerializeToString()), name
            await scene.intake.close()
    assert count > 100
    assert not holds(secret, repr(logged).encode())
    assert not holds(secret, generate_latest())


async def test_what_was_found_in_what_breaks_a_rule_of_shape_is_told() -> None:
    scene = Scene()
    submission = SubmitRequest(data=value({"536-22-5587": [math.nan, "jane.roe@example.com"]}))
    (outcome,) = await scene.intake.take([submission], lambda: "h")
    assert isinstance(outcome, CallError)
    assert [field.path for field in outcome.fields] == ["/data/***********/0"]
    (alert,) = scene.alerts.raised
    assert alert.event_type == "INVALID_INPUT"
    assert [(each.path, each.detector) for each in alert.findings] == [
        ("/data/***********", "us_ssn"),
        ("/data/***********/1", "email"),
    ]
    assert list(scene.recorder.recorded[0].detectors) == ["us_ssn", "email"]


@pytest.mark.parametrize(
    ("action", "accepted"), [("tag", True), ("redact", False), ("reject", False)]
)
async def test_a_request_id_that_is_only_noted_is_accepted(
    tmp_path: Path, action: str, accepted: bool
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        f"detectors: {{us_ssn: {{action: {action}}}}}\nsources: {{536-22-5587: {{action: 'off'}}}}"
    )
    scene = Scene(Gate(path))
    submission = SubmitRequest(data=value("x"), request_id="536-22-5587")
    (answer,) = await scene.intake.take([submission], lambda: "h")
    if accepted:
        assert isinstance(answer, str)
        assert scene.recorder.recorded[0].request_id == "536-22-5587"
    else:
        assert isinstance(answer, CallError) and answer.reason == "INVALID_INPUT"
        assert scene.recorder.recorded[0].request_id == ""
