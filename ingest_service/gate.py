"""The gate: judges a submission by the rules of shape and the policy. Records nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import detection
from detection.fields import Fields, walk
from detection.plain_texts import plain_texts
from ingest_service import metrics
from ingest_service.judgement import WITHHELD, Judgement, Refusal
from ingest_service.named_fields import SOURCE, NamedField, named_texts
from ingest_service.submission import Submission
from ingest_service.validation import MAX_DEPTH, MAX_NODES, violations_of
from mesh.errors import FieldError
from mesh.health import Unhealthy
from mesh.logs import logger
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

log = logger("ingest.gate")

POLICY_CHECK_SECONDS = 2.0
SUSPECT_SHARES = 8
"""Into so many shares texts are divided, and these again, to find those in which something may be.
"""


class Gate:
    """Judges submissions by a policy that can change while it runs.

    `policy_file` is watched; without one the packaged policy holds. Raises
    detection.PolicyError when the file holds no policy at the start.
    """

    def __init__(self, policy_file: Path | None) -> None:
        self._file = detection.PolicyFile(policy_file) if policy_file else None
        self._packaged = detection.Scanner(detection.packaged_policy())

    def are_clean(self, submissions: Sequence[Submission]) -> bool:
        """Tell, at a fraction of the cost, whether `judge` would find nothing in any of them.

        May say False of submissions in which there is nothing. Raises when detection fails.
        """
        texts: list[str] = []
        for submission in submissions:
            found = plain_texts(submission.data, MAX_DEPTH, MAX_NODES)
            if found is None:
                return False
            texts += found
            for field, text in submission.named:
                if not field.pattern.fullmatch(text):
                    return False
                texts.append(text)
        return not self._scanner.may_match(texts)

    def suspects(self, texts: Sequence[str]) -> set[int]:
        """Return the indices of the texts in which something may be, mostly none.

        In the others `judge` would find nothing. Raises when detection fails.
        """
        may_match = self._scanner.may_match
        found: set[int] = set()
        unseen = [(0, len(texts))]
        while unseen:
            start, end = unseen.pop()
            if start == end or not may_match([*texts[start:end]]):
                continue
            if end - start == 1:
                found.add(start)
                continue
            step = -(-(end - start) // SUSPECT_SHARES)
            unseen += [(each, min(each + step, end)) for each in range(start, end, step)]
        return found

    def judge(self, submission: SubmitRequest) -> Judgement:
        """Return the judgement on one submission. Thread-safe.

        Raises when detection fails: then nothing is known, and the submission must be refused.
        """
        scanner = self._scanner
        named = named_texts(submission)
        fields = walk(submission.data, MAX_DEPTH, MAX_NODES)
        scan = scanner.scan(fields, submission.source)
        scans = {
            field: scan
            if field is SOURCE
            else scanner.scan(Fields(), text, as_source=submission.source)
            for field, text in named
        }
        violations = violations_of(submission, fields, scan.shown)
        for field, found in scans.items():
            if not field.is_masked and found.redacted:
                violations.add(_sensitive(field))
        findings, shadow = list(scan.findings), list(scan.shadow)
        masked = [scan]
        for field, found in scans.items():
            if field.is_masked and field is not SOURCE:
                masked.append(found)
                findings += [replace(each, pointer=field.path) for each in found.findings]
                shadow += [replace(each, pointer=field.path) for each in found.shadow]
        if violations.count:
            refusal = Refusal.SHAPE
        elif any(each.verdict is detection.Verdict.REJECT for each in masked):
            refusal = Refusal.CONTENT
            # Of what is refused, for whatever field, all that holds a finding is hidden.
            scan = replace(scan, verdict=detection.Verdict.REJECT)
        else:
            refusal = Refusal.NONE
        masked_data = None
        if violations.count:
            masked_data = WITHHELD
        elif scan.redacted:
            masked_data = scan.mask(submission.data)
        masked_fields, hidden_fields = _field_masks(
            named, scans, {each.path for each in violations.listed}, refused=bool(refusal)
        )
        return Judgement(
            refusal,
            masked_data,
            masked_fields,
            hidden_fields,
            tuple(violations.listed),
            violations.count,
            tuple(findings),
            sum(each.finding_count for each in masked),
            tuple(shadow),
            sum(each.shadow_count for each in masked),
            tuple(dict.fromkeys(name for each in masked for name in each.detectors)),
            any(each.masked_widely for each in masked) and not violations.count,
        )

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

    @property
    def _scanner(self) -> detection.Scanner:
        return self._file.scanner if self._file else self._packaged


def _field_masks(
    named: Sequence[tuple[NamedField, str]],
    scans: Mapping[NamedField, detection.Scan],
    broken: Collection[str],
    *,
    refused: bool,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what is recorded in place of named fields, and the names of those not to be told.

    `broken` are the paths at which a rule of shape is broken.
    """
    masked: dict[str, str] = {}
    hidden: list[str] = []
    for field, text in named:
        if field.path in broken:
            masked[field.name] = ""
            hidden.append(field.name)
        elif field.is_masked:
            kept = scans[field].masked_source(refused=refused)
            if kept != text:
                masked[field.name] = kept
            if scans[field].in_source:
                hidden.append(field.name)
    return masked, tuple(hidden)


def _sensitive(field: NamedField) -> FieldError:
    return FieldError(
        field.path,
        "SENSITIVE",
        "The id looks like personal data or a secret. Send an id that means nothing, such as a "
        "UUID.",
    )
