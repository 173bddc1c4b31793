"""A field that is added to the table, and to the messages, is treated as the others are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message

from ingest_service import named_fields, parts, recorder
from ingest_service.gate import Gate
from ingest_service.named_fields import NAMED_FIELDS, SOURCE, NamedField
from ingest_service.submission import Submission
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.job.v1.job_pb2 import Interaction
from tests.unit.ingest_service.test_leaks import Scene

SSN = "536-22-5587"
RULES = SOURCE.pattern, "Send another nickname."


def with_nickname(message: type[Message], name: str) -> Any:
    """Return a message class like `message` that has a text field of that name besides."""
    pool, file = descriptor_pool.Default(), message.DESCRIPTOR.file
    made = FileDescriptorProto(
        name=f"tests/{message.DESCRIPTOR.name}_{name}.proto",
        package=f"tests.with_{name}",
        syntax="proto3",
        dependency=[file.name, *[each.name for each in file.dependencies]],
    )
    message.DESCRIPTOR.CopyToProto(made.message_type.add())
    made.message_type[0].field.add(
        name=name,
        number=100,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    pool.AddSerializedFile(made.SerializeToString())
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"tests.with_{name}.{message.DESCRIPTOR.name}")
    )


SubmitWithTenant = with_nickname(SubmitRequest, "nickname")
AlertWithTenant = with_nickname(RaiseAlertRequest, "nickname")
InteractionWithTenant = with_nickname(Interaction, "kept_nickname")

Added = Callable[[NamedField], None]


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Added:
    def add(field: NamedField) -> None:
        monkeypatch.setattr(named_fields, "NAMED_FIELDS", (*NAMED_FIELDS, field))
        monkeypatch.setattr(recorder, "Interaction", InteractionWithTenant)
        monkeypatch.setattr(parts, "RaiseAlertRequest", AlertWithTenant)

    return add


def nickname(*, is_masked: bool = True, in_alerts: bool = True) -> NamedField:
    return NamedField("nickname", *RULES, is_masked, "kept_nickname", in_alerts)


def submission(name: str, text: str = "fine") -> Any:
    made = SubmitWithTenant(source="web", nickname=name)
    made.data.string_value = text
    return made


def gate(path: Path, action: str) -> Gate:
    path = path / "policy.yaml"
    path.write_text(f"action: {action}\n")
    return Gate(path)


async def take(scene: Scene, made: Any) -> tuple[str | CallError, Any]:
    """Return what became of a submission, and the interaction that is stored."""
    (outcome,) = await scene.intake.take([made], lambda: "h")
    (stored,) = scene.recorder.recorded
    return outcome, InteractionWithTenant.FromString(stored.SerializeToString())


async def test_it_is_stored(add: Added) -> None:
    add(nickname())
    scene = Scene()
    assert scene.intake._judge._gate.are_clean([Submission(submission("acme"))])
    outcome, stored = await take(scene, submission("acme"))
    assert isinstance(outcome, str)
    assert (stored.kept_nickname, stored.source) == ("acme", "web")


@pytest.mark.parametrize("in_alerts", [True, False])
async def test_an_alert_about_something_else_shows_it_where_the_table_says_so(
    add: Added, in_alerts: bool
) -> None:
    add(nickname(in_alerts=in_alerts))
    scene = Scene()
    _, stored = await take(scene, submission("acme", SSN))
    (alert,) = scene.alerts.raised
    assert alert.nickname == ("acme" if in_alerts else "")  # type: ignore[attr-defined]
    assert stored.kept_nickname == "acme"


async def test_its_shape_is_checked(add: Added) -> None:
    add(nickname())
    scene = Scene()
    assert not scene.intake._judge._gate.are_clean([Submission(submission("not valid"))])
    outcome, stored = await take(scene, submission("not valid"))
    assert isinstance(outcome, CallError)
    assert [(each.path, each.reason, each.description) for each in outcome.fields] == [
        ("/nickname", "BAD_NAME", RULES[1])
    ]
    assert stored.kept_nickname == scene.alerts.raised[0].nickname == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["fine", "and jane.roe@example.com"])
async def test_it_is_scanned_and_refused_with_what_was_sent(add: Added, text: str) -> None:
    add(nickname())
    scene = Scene()
    outcome, stored = await take(scene, submission(SSN, text))
    assert isinstance(outcome, CallError)
    assert outcome.reason == "CONTENT_REFUSED"
    assert ("/nickname", "US_SSN") in [(each.path, each.reason) for each in outcome.fields]
    (alert,) = scene.alerts.raised
    assert ("/nickname", "us_ssn") in [(each.path, each.detector) for each in alert.findings]
    assert alert.nickname == ""  # type: ignore[attr-defined]
    assert "us_ssn" in stored.detectors
    assert stored.kept_nickname == "*" * len(SSN)
    assert "jane" not in str(stored)


@pytest.mark.parametrize(("action", "kept"), [("redact", "***-**-****"), ("tag", SSN)])
async def test_it_is_masked_where_the_policy_says_so(
    add: Added, tmp_path: Path, action: str, kept: str
) -> None:
    add(nickname())
    scene = Scene(gate(tmp_path, action))
    outcome, stored = await take(scene, submission(SSN))
    assert isinstance(outcome, str)
    assert (stored.kept_nickname, list(stored.detectors)) == (kept, ["us_ssn"])


async def test_where_it_cannot_be_masked_a_finding_refuses_the_submission(add: Added) -> None:
    add(nickname(is_masked=False))
    scene = Scene()
    outcome, stored = await take(scene, submission(SSN))
    assert isinstance(outcome, CallError)
    assert [(each.path, each.reason) for each in outcome.fields] == [("/nickname", "SENSITIVE")]
    assert stored.kept_nickname == scene.alerts.raised[0].nickname == ""  # type: ignore[attr-defined]
