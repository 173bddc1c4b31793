"""What is decided about one submission, as plain data, and how the contract says it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.struct_pb2 import Value

import detection
from mesh.errors import CallError, FieldError
from sluice.verdict.v1 import verdict_pb2

_KINDS = {
    detection.Kind.PII: verdict_pb2.FINDING_KIND_PII,
    detection.Kind.SECRET: verdict_pb2.FINDING_KIND_SECRET,
    detection.Kind.KEYWORD: verdict_pb2.FINDING_KIND_KEYWORD,
}
_CONFIDENCES = {
    detection.Confidence.LOW: verdict_pb2.CONFIDENCE_LOW,
    detection.Confidence.MEDIUM: verdict_pb2.CONFIDENCE_MEDIUM,
    detection.Confidence.HIGH: verdict_pb2.CONFIDENCE_HIGH,
}
_ACTIONS = {
    detection.Action.TAG: verdict_pb2.ACTION_TAG,
    detection.Action.REDACT: verdict_pb2.ACTION_REDACT,
    detection.Action.REJECT: verdict_pb2.ACTION_REJECT,
}


WITHHELD = Value(string_value="[withheld]")
"""What goes on record in place of data that breaks a rule of shape."""


class Refusal(IntEnum):
    """Why something is refused, as sluice.job.v1.RequestRecord has it in `refusals`."""

    NONE = 0
    CONTENT = 1
    SHAPE = 2
    BATCH = 3


class Judgement(NamedTuple):
    """What is to become of one submission, and what may be kept and told of it.

    Small, whatever was judged: a batch has thousands. What breaks a rule of shape is scanned as
    well, as far as it can be read, for the sake of what is told about it; of its data nothing is
    kept.
    """

    refusal: Refusal = Refusal.NONE
    masked_data: Value | None = None
    """What goes on record in place of the data; None where that is recorded as it was sent."""
    masked_fields: Mapping[str, str] = MappingProxyType({})
    """What goes on record in place of named fields; an empty text where nothing does."""
    hidden_fields: Collection[str] = ()
    """Names of the fields that alerts do not show, since they hold a finding or break a rule."""
    violations: Sequence[FieldError] = ()
    """The rules of shape that it breaks, as many as are listed."""
    violation_count: int = 0
    findings: Sequence[detection.Finding] = ()
    """As many as are listed."""
    finding_count: int = 0
    shadow_findings: Sequence[detection.Finding] = ()
    """What rules in shadow mode found, as many as are listed."""
    shadow_finding_count: int = 0
    detectors: Sequence[str] = ()
    """Names of the detectors that hit, each once."""
    masked_widely: bool = False
    """Whether more of the recorded data may be masked than was found."""
    failure: CallError | None = None
    """Why it could not be judged: then it must not be accepted."""


CLEAN = Judgement()
"""On every submission in which nothing was found and no rule is broken."""


def broken(rule: FieldError, hidden: Collection[str]) -> Judgement:
    """Return the judgement on what breaks a rule of shape so that it cannot be read.

    `hidden` are the names of fields that are neither kept nor told.
    """
    masked = dict.fromkeys(hidden, "")
    return Judgement(Refusal.SHAPE, WITHHELD, masked, hidden, violations=(rule,), violation_count=1)


def violation_messages(violations: Iterable[FieldError]) -> list[verdict_pb2.Violation]:
    """Return violations as the contract has them."""
    return [
        verdict_pb2.Violation(path=each.path, rule=each.reason, description=each.description)
        for each in violations
    ]


def finding_messages(findings: Iterable[detection.Finding]) -> list[verdict_pb2.Finding]:
    """Return findings as the contract has them."""
    return [
        verdict_pb2.Finding(
            detector=finding.detector,
            kind=_KINDS[finding.kind],
            path=finding.pointer,
            start=finding.start,
            end=finding.end,
            confidence=_CONFIDENCES[finding.confidence],
            action=_ACTIONS[finding.action],
            in_key=finding.in_key,
        )
        for finding in findings
    ]
