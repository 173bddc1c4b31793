"""What of a call is recorded whole or not at all: one submission, or a part of a batch. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ulid import ULID

from ingest_service import refusals
from ingest_service.judgement import (
    CLEAN,
    Judgement,
    Refusal,
    finding_messages,
    violation_messages,
)
from ingest_service.named_fields import REQUEST_ID
from ingest_service.recorder import Unstored, interaction
from ingest_service.submission import Submission
from job_store.request_ids import Request
from job_store.store import Entry, Receipt
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

PART_BYTES = 512 * 1024
"""Of the submissions of a batch that are recorded whole, under one record where the batch has a
request id. Such a batch is cut by what was sent, and by nothing that could be different when it is
repeated."""

CLEAN_TOGETHER = 100
"""Submissions that are recorded whole although nobody asked for it, since that costs less. A job
may be smaller than the operator wants, never larger by more than this."""

Outcome = str | CallError
"""A task id, or the error that the caller gets for this submission."""


class Part:
    """Submissions that are recorded whole or not at all, and what becomes of them.

    `request` is what makes it repeatable; None where there is no well-formed request id. One that
    is refused by the policy of now may stand for something all the same. `batch_id` is the request
    id of the batch it belongs to, if that has one.
    """

    __slots__ = (
        "alert_ids", "batch_id", "failures", "is_accepted", "is_refused", "judgements", "request",
        "submissions",
    )  # fmt: skip

    def __init__(
        self,
        submissions: Sequence[Submission],
        judgements: Sequence[Judgement],
        request: Request | None,
        batch_id: str = "",
    ) -> None:
        self.submissions = submissions
        self.judgements = judgements
        self.request = request
        self.batch_id = batch_id
        self.alert_ids: dict[int, str] = {}
        """Of the alerts that were raised, by the index of the submission in the part."""
        self.failures: dict[int, CallError] = {}
        """Why a submission can be neither accepted nor refused, by its index."""
        self.is_refused = False
        """Whether an alert has to be raised for it."""
        for index, judgement in enumerate(judgements):
            if judgement is not CLEAN:
                if judgement.failure is not None:
                    self.failures[index] = judgement.failure
                elif judgement.refusal:
                    self.is_refused = True
        self.is_accepted = not (self.is_refused or self.failures)
        """Whether all of it can be recorded as it is."""

    def alert(self, index: int, alert_id: str, http_request_id: str) -> RaiseAlertRequest:
        """Return the alert about a refused submission."""
        submission, judgement = self.submissions[index], self.judgements[index]
        message = submission.message
        alert = RaiseAlertRequest(
            alert_id=alert_id,
            event_type="INVALID_INPUT" if judgement.refusal is Refusal.SHAPE else "PII",
            payload=message.data if message.HasField("data") else None,
            findings=finding_messages(judgement.findings),
            violations=violation_messages(judgement.violations),
            detectors=judgement.detectors,
            http_request_id=http_request_id,
        )
        if submission.stamp and alert.payload.HasField("struct_value"):
            alert.payload.MergeFromString(submission.stamp)
        for field, text in submission.named:
            if field.in_alerts and field.name not in judgement.hidden_fields:
                setattr(alert, field.name, text)
        if self.batch_id:
            alert.request_id = self.batch_id
        if judgement.finding_count > len(alert.findings):
            alert.finding_count, alert.cut = judgement.finding_count, True
        if judgement.violation_count > len(alert.violations):
            alert.violation_count, alert.cut = judgement.violation_count, True
        alert.raise_time.GetCurrentTime()
        return alert

    def entry(self) -> Entry:
        """Return what goes on record once nothing failed and the alerts are raised."""
        pieces = []
        for submission, judgement in zip(self.submissions, self.judgements, strict=True):
            fields = submission.named
            if self.batch_id:
                fields = [*fields, (REQUEST_ID, self.batch_id)]
            if judgement is CLEAN:
                pieces.append(interaction(submission.data + submission.stamp, fields))
                continue
            masked = judgement.masked_fields
            data = submission.data
            if judgement.masked_data is not None:
                data = judgement.masked_data.SerializeToString()
            if not judgement.violation_count:
                data += submission.stamp
            pieces.append(
                interaction(
                    data,
                    [(field, masked.get(field.name, text)) for field, text in fields],
                    self.alert_ids.get(len(pieces), ""),
                    judgement.detectors,
                    masked_widely=judgement.masked_widely,
                )
            )
        request = self.request
        if self.is_refused and request is not None:
            request = request._replace(refusals=bytes([each.refusal for each in self.judgements]))
        return Entry(b"".join(pieces), len(pieces), request)

    def outcomes(self, receipt: Receipt | Unstored) -> Sequence[Outcome]:
        """Return what the callers get for what was recorded now, or was not."""
        if not isinstance(receipt, Receipt):
            return [refusals.not_stored(receipt)] * len(self.submissions)
        if self.is_accepted:
            return self.tasks(receipt)
        outcomes: list[Outcome] = [*self.tasks(receipt)]
        for index, alert_id in self.alert_ids.items():
            outcomes[index] = refusals.refusal(self.judgements[index], alert_id)
        return outcomes

    def failed(self) -> Sequence[Outcome]:
        """Return what the callers get where something failed, so that nothing is recorded."""
        return [
            self.failures.get(index) or refusals.held_back()
            for index in range(len(self.submissions))
        ]

    def tasks(self, receipt: Receipt) -> list[str]:
        """Return the task ids of the submissions as they are stored."""
        job_id, first = receipt.job_id, receipt.first
        if len(self.submissions) == 1:
            return [f"{job_id}-{first}"]
        return [f"{job_id}-{first + index}" for index in range(len(self.submissions))]


def parts_of(submissions: Sequence[Submission], judgements: Sequence[Judgement]) -> list[Part]:
    """Return the parts of a call without a request id of its own, in order.

    Clean submissions without ids that stand side by side share one, up to CLEAN_TOGETHER and to
    PART_BYTES: what a part costs is divided among them. Any other is a part of its own.
    """
    parts: list[Part] = []
    start = size = 0
    for index, (submission, judgement) in enumerate(zip(submissions, judgements, strict=True)):
        is_plain = judgement is CLEAN and not submission.request_id
        length = submission.size
        is_full = index - start == CLEAN_TOGETHER or size + length > PART_BYTES
        if start < index and (is_full or not is_plain):
            parts.append(Part(submissions[start:index], judgements[start:index], None))
            start, size = index, 0
        if is_plain:
            size += length
        else:
            parts.append(_single(submission, judgement))
            start = index + 1
    if start < len(submissions):
        parts.append(Part(submissions[start:], judgements[start:], None))
    return parts


def _single(submission: Submission, judgement: Judgement) -> Part:
    """Return a submission as a part of its own."""
    request, name = None, submission.request_id
    if name and REQUEST_ID.pattern.fullmatch(name):
        request = Request.of(name, submission.message.SerializeToString(deterministic=True))
    return Part((submission,), (judgement,), request)


def alert_id(request: Request | None, secret_of: Callable[[Request], bytes], index: int = 0) -> str:
    """Return the identity of an alert: the same for a repeated call, when it is repeatable."""
    return request.alert_id(secret_of(request), index) if request else str(ULID()).lower()


def cut(submissions: Sequence[Submission]) -> list[tuple[int, int]]:
    """Cut a batch into parts of at most PART_BYTES, or one submission that is larger.

    Returns the start and the end of each.
    """
    parts = []
    start = size = 0
    for index, submission in enumerate(submissions):
        length = submission.size
        if size and size + length > PART_BYTES:
            parts.append((start, index))
            start, size = index, 0
        size += length
    return [*parts, (start, len(submissions))]


def repeated(parts: Sequence[Part]) -> dict[int, int]:
    """Return the indices of the parts whose request id an earlier one has, with that one's."""
    firsts: dict[tuple[str, bytes], int] = {}
    repeats: dict[int, int] = {}
    for index, part in enumerate(parts):
        if part.request is not None:
            first = firsts.setdefault(part.request[:2], index)
            if first != index:
                repeats[index] = first
    return repeats
