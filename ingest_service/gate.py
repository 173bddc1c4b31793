"""The gate: judges a submission by the rules of shape and the policy. Records nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from google.protobuf.struct_pb2 import Value

import detection
from detection.fields import Fields, plain_texts, walk
from ingest_service import metrics
from ingest_service.validation import (
    MAX_DEPTH,
    MAX_NODES,
    Violations,
    is_name,
    violations_of,
)
from mesh.errors import FieldError
from mesh.health import Unhealthy
from mesh.logs import logger
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.verdict.v1 import verdict_pb2

log = logger("ingest.gate")

POLICY_CHECK_SECONDS = 2.0

_WITHHELD = Value(string_value="[withheld]")

_SENSITIVE_REQUEST_ID = FieldError(
    "/request_id",
    "SENSITIVE",
    "The id looks like personal data or a secret. Send an id that means nothing, such as a UUID.",
)

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


@dataclass(frozen=True)
class Judgement:
    """What is to become of one submission, and what may be kept of it.

    A submission that breaks a rule of shape is scanned as well, as far as it can be read, for the
    sake of what is told about it; of its data nothing is kept.
    """

    submission: SubmitRequest
    violations: Violations
    scan: detection.Scan

    @property
    def refused(self) -> bool:
        """Whether the submission must not be accepted."""
        return bool(self.violations.count) or self.scan.verdict is detection.Verdict.REJECT

    @property
    def detectors(self) -> Sequence[str]:
        """Names of the detectors that hit, each once."""
        return list(self.scan.detectors)

    @property
    def rejecting(self) -> Sequence[detection.Finding]:
        """The findings for which the submission is refused."""
        return [each for each in self.scan.findings if each.action is detection.Action.REJECT]

    @cached_property
    def kept_data(self) -> Value:
        """The data as it goes on record: masked where it is refused or to be redacted."""
        if self.violations.count:
            return _WITHHELD
        if self.scan.redacted:
            return self.scan.mask(self.submission.data)
        return self.submission.data

    @property
    def masked_widely(self) -> bool:
        """Whether more of the kept data may be masked than was found."""
        return self.scan.masked_widely and not self.violations.count

    @property
    def kept_source(self) -> str:
        """The source as it goes on record: masked as data is, empty when it is no valid one."""
        return self.scan.masked_source(refused=self.refused) if self._source_is_valid else ""

    @property
    def told_source(self) -> str:
        """The source as alerts show it: empty when it is no valid one or holds a finding."""
        holds_nothing = self._source_is_valid and not self.scan.in_source
        return self.submission.source if holds_nothing else ""

    @property
    def _source_is_valid(self) -> bool:
        return not self._violates("/source")

    @property
    def valid_request_id(self) -> str:
        """The request id, empty when it is no valid one."""
        return "" if self._violates("/request_id") else self.submission.request_id

    def violations_message(self) -> list[verdict_pb2.Violation]:
        """Return the violations as the contract has them."""
        return [
            verdict_pb2.Violation(path=each.path, rule=each.reason, description=each.description)
            for each in self.violations.listed
        ]

    def findings_message(self) -> list[verdict_pb2.Finding]:
        """Return the findings as the contract has them."""
        return _as_messages(self.scan.findings)

    def shadow_findings_message(self) -> list[verdict_pb2.Finding]:
        """Return what rules in shadow mode found, as the contract has it."""
        return _as_messages(self.scan.shadow)

    def _violates(self, path: str) -> bool:
        return any(each.path == path for each in self.violations.listed)


class Gate:
    """Judges submissions by a policy that can change while it runs.

    `policy_file` is watched; without one the packaged policy holds. Raises
    detection.PolicyError when the file holds no policy at the start.
    """

    def __init__(self, policy_file: Path | None) -> None:
        self._file = detection.PolicyFile(policy_file) if policy_file else None
        self._packaged = detection.Scanner(detection.Policy.default())

    def are_clean(self, submissions: Sequence[SubmitRequest]) -> bool:
        """Tell, at a fraction of the cost, whether `judge` would find nothing in any of them.

        May say False of submissions in which there is nothing. Raises when detection fails.
        """
        scanner = self._file.scanner if self._file else self._packaged
        texts: list[str] = []
        for submission in submissions:
            found = plain_texts(submission.data, MAX_DEPTH, MAX_NODES)
            if found is None:
                return False
            texts += found
            for name in (submission.source, submission.request_id):
                if name:
                    if not is_name(name):
                        return False
                    texts.append(name)
        return not scanner.may_match(texts)

    def judge(self, submission: SubmitRequest) -> Judgement:
        """Return the judgement on one submission. Thread-safe.

        Raises when detection fails: then nothing is known, and the submission must be refused.
        """
        scanner = self._file.scanner if self._file else self._packaged
        fields = walk(submission.data, MAX_DEPTH, MAX_NODES)
        scan = scanner.scan(fields, submission.source)
        violations = violations_of(submission, fields, scan.shown)
        if submission.request_id:
            found = scanner.scan(Fields(), submission.request_id, as_source=submission.source)
            if found.redacted:
                # It is stored, told and logged as an id, so it cannot be masked.
                violations.add(_SENSITIVE_REQUEST_ID)
        judgement = Judgement(submission, violations, scan)
        # Masking takes time as well: it is for whoever judges, not for the event loop.
        _ = judgement.kept_data
        return judgement

    async def watch_policy(self) -> None:
        """Take up a changed policy file within seconds. Runs until cancelled.

        A file that holds no policy leaves the old one in force, a line in the log, a metric and a
        bad `policy_in_force`.
        """
        while self._file is not None:
            await asyncio.sleep(POLICY_CHECK_SECONDS)
            try:
                if await asyncio.to_thread(self._file.refresh):
                    log.info("policy changed")
            except detection.PolicyError as error:
                log.error("policy refused, the old one holds", reason=str(error))
            except Exception as error:
                log.error("policy not looked at", exc_info=error)
            metrics.POLICY_REFUSED.set(self._file.refused is not None)

    async def policy_in_force(self) -> None:
        """Check that the policy in force is what its file holds. Raises Unhealthy."""
        if self._file is not None and self._file.refused is not None:
            raise Unhealthy(self._file.refused)


def _as_messages(findings: Iterable[detection.Finding]) -> list[verdict_pb2.Finding]:
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
