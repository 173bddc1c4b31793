"""Takes submissions in: judges each, alerts before it refuses, records before it answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from google.protobuf.struct_pb2 import Value
from ulid import ULID

from ingest_service import metrics
from ingest_service.alerts import Alerts
from ingest_service.gate import Gate, Judgement
from ingest_service.jobs import QueueFull, QueueUnavailable, Receipt
from ingest_service.recorder import Decided, Recorder, body_hash
from ingest_service.sharing import Overfull
from mesh.errors import CallError, FieldError
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.verdict.v1.verdict_pb2 import Violation

log = logger("ingest.intake")

Result = TypeVar("Result")

Outcome = str | CallError
"""A task id, or the error that the caller gets for this submission."""

MAX_ALERT_FINDINGS = 500
MAX_JUDGED_INLINE_BYTES = 32 * 1024
MAX_SIEVED_BYTES = 256 * 1024
SIEVED_TOGETHER = 100
"""What one of them holds sends all of them to be judged one by one, so not all go together."""


class Intake:
    """The one way in, for a single submission as for thousands."""

    def __init__(self, gate: Gate, alerts: Alerts, recorder: Recorder) -> None:
        self._gate = gate
        self._alerts = alerts
        self._recorder = recorder
        self._unfinished: set[asyncio.Task[Any]] = set()
        # One, since Python judges one at a time anyway: more would only keep the event loop, and
        # with it the answers to health checks, from its turn.
        self._judging = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self._bytes_in_a_row = 0

    async def judge(self, submission: SubmitRequest) -> Judgement:
        """Return the judgement on one submission, letting others go on meanwhile.

        Raises when detection fails: then nothing is known, and the submission must be refused.
        """
        size = submission.ByteSize()
        if size > MAX_JUDGED_INLINE_BYTES:
            return await asyncio.get_running_loop().run_in_executor(
                self._judging, self._gate.judge, submission
            )
        self._bytes_in_a_row += size
        if self._bytes_in_a_row > MAX_JUDGED_INLINE_BYTES:
            self._bytes_in_a_row = 0
            await asyncio.sleep(0)
        return self._gate.judge(submission)

    async def take(
        self, submissions: Sequence[SubmitRequest], http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Return what became of each submission, in order.

        Accepted means durable in the queue. Refused means that the alert is durable and the masked
        interaction is recorded. Once judged, submissions are seen through even when the caller goes
        away. Raises CallError when nothing could be stored.
        """
        if await self._are_plain(submissions):
            metrics.ACCEPTED.inc(len(submissions))
            receipts = await self._record([_plain(submission) for submission in submissions])
            return [
                _accepted_outcome(submission, receipt)
                for submission, receipt in zip(submissions, receipts, strict=True)
            ]
        judgements = [await self._judge(submission) for submission in submissions]
        if any(isinstance(each, CallError) or each.refused for each in judgements):
            return await self._see_through(
                self._take_with_refusals(submissions, judgements, http_request_id())
            )
        receipts = await self._record(
            [
                _accepted(submission, judgement)
                for submission, judgement in zip(submissions, judgements, strict=True)
                if isinstance(judgement, Judgement)
            ]
        )
        return [
            _accepted_outcome(submission, receipt)
            for submission, receipt in zip(submissions, receipts, strict=True)
        ]

    async def refuse_undecodable(self, http_request_id: str) -> None:
        """Alert about and record a request that is no message. Raises CallError when neither is
        possible.
        """
        await self._see_through(self._refuse_undecodable(http_request_id))

    async def record_refusal(self, rule: Violation, client: str, http_request_id: str) -> str:
        """Alert about and record a request that the gateway refused; return the alert's id.

        Raises CallError when that is not possible.
        """
        return await self._see_through(self._record_refusal(rule, client, http_request_id))

    async def close(self) -> None:
        """Wait until everything that was taken in is durable or has failed."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)
        self._judging.shutdown()
        await self._recorder.close()

    async def _are_plain(self, submissions: Sequence[SubmitRequest]) -> bool:
        """Tell whether nothing can be in any of them, where that can be told quickly."""
        try:
            for start in range(0, len(submissions), SIEVED_TOGETHER):
                if start:
                    await asyncio.sleep(0)
                some = submissions[start : start + SIEVED_TOGETHER]
                if sum([each.ByteSize() for each in some]) > MAX_SIEVED_BYTES:
                    return False
                if not self._gate.are_plain(some):
                    return False
        except Exception as error:
            # Whatever it was, the judgement meets it again, and fails closed.
            log.error("sieve failed", exc_info=error)
            return False
        return True

    async def _judge(self, submission: SubmitRequest) -> Judgement | CallError:
        try:
            judgement = await self.judge(submission)
        except Exception as error:
            # Fails closed: what could not be checked is not accepted.
            log.error("detection failed", exc_info=error)
            metrics.UNCHECKED.inc()
            return CallError(
                grpc.StatusCode.INTERNAL,
                "DETECTION_FAILED",
                "The submission could not be checked, so it was not accepted. Repeat the call; if "
                "it fails again, report the request id to the operator.",
            )
        _count(judgement)
        return judgement

    async def _take_with_refusals(
        self,
        submissions: Sequence[SubmitRequest],
        judgements: Sequence[Judgement | CallError],
        http_request_id: str,
    ) -> list[Outcome]:
        """Raise the alerts, then record whatever was accepted or has its alert."""
        decided = await asyncio.gather(
            *[
                self._decide(submission, judgement, http_request_id)
                for submission, judgement in zip(submissions, judgements, strict=True)
            ]
        )
        receipts = iter(await self._record([each for each in decided if isinstance(each, Decided)]))
        outcomes: list[Outcome] = []
        for submission, judgement, each in zip(submissions, judgements, decided, strict=True):
            if isinstance(each, CallError):
                outcomes.append(each)
            elif isinstance(judgement, Judgement) and judgement.refused:
                outcomes.append(_refused_outcome(submission, judgement, each, next(receipts)))
            else:
                outcomes.append(_accepted_outcome(submission, next(receipts)))
        return outcomes

    async def _decide(
        self, submission: SubmitRequest, judgement: Judgement | CallError, http_request_id: str
    ) -> Decided | CallError:
        if isinstance(judgement, CallError):
            return judgement
        if not judgement.refused:
            return _accepted(submission, judgement)
        alert = _alert(submission, judgement, http_request_id)
        try:
            await self._alerts.raise_alert(alert)
        except (QueueUnavailable, QueueFull):
            return _unavailable()
        return Decided(
            submission=submission,
            data=judgement.kept_data,
            source=judgement.kept_source,
            request_id=judgement.valid_request_id,
            alert_id=alert.alert_id,
            detectors=judgement.detectors,
        )

    async def _refuse_undecodable(self, http_request_id: str) -> None:
        alert = RaiseAlertRequest(
            alert_id=str(ULID()).lower(),
            event_type="INVALID_INPUT",
            http_request_id=http_request_id,
            violations=[
                Violation(path="", rule="UNDECODABLE", description="The request is no message.")
            ],
        )
        alert.raise_time.GetCurrentTime()
        try:
            await self._alerts.raise_alert(alert)
        except (QueueUnavailable, QueueFull):
            raise _unavailable() from None
        withheld = Value(string_value="[undecodable]")
        await self._record([Decided(SubmitRequest(), withheld, "", alert_id=alert.alert_id)])

    async def _record_refusal(self, rule: Violation, client: str, http_request_id: str) -> str:
        alert = RaiseAlertRequest(
            # The alert service tells it so too, should the gateway's log tell of this request.
            alert_id=f"edge-{http_request_id}",
            event_type="INVALID_INPUT",
            violations=[rule],
            http_request_id=http_request_id,
            client=client,
            at_edge=True,
        )
        alert.raise_time.GetCurrentTime()
        try:
            alert_id = await self._alerts.raise_alert(alert)
        except (QueueUnavailable, QueueFull):
            raise _unavailable() from None
        withheld = Value(string_value=f"[{rule.rule.lower()}]")
        await self._record([Decided(SubmitRequest(), withheld, "", alert_id=alert_id)])
        return alert_id

    async def _record(self, decided: Sequence[Decided]) -> list[Receipt]:
        if not decided:
            return []
        try:
            return await self._recorder.record(decided)
        except QueueUnavailable:
            raise _unavailable() from None
        except (QueueFull, Overfull):
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "QUEUE_FULL",
                "The queue is full and took nothing. Repeat the call after the delay given.",
                retry_after=5.0,
            ) from None

    async def _see_through(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await `work`, which goes on when the caller is cancelled."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)


def _count(judgement: Judgement) -> None:
    if judgement.violations:
        metrics.INVALID.inc()
    elif judgement.refused:
        metrics.REFUSED.inc()
    else:
        metrics.ACCEPTED.inc()
    for detector in judgement.detectors:
        metrics.FINDINGS.labels(detector).inc()


def _plain(submission: SubmitRequest) -> Decided:
    return Decided(submission, submission.data, submission.source, submission.request_id)


def _accepted(submission: SubmitRequest, judgement: Judgement) -> Decided:
    return Decided(
        submission=submission,
        data=judgement.kept_data,
        source=judgement.kept_source,
        request_id=judgement.valid_request_id,
        detectors=judgement.detectors,
    )


def _accepted_outcome(submission: SubmitRequest, receipt: Receipt) -> Outcome:
    if receipt.earlier is None:
        return receipt.task_id
    if receipt.earlier.body_hash != body_hash(submission):
        return _reused()
    return receipt.earlier.task_id


def _refused_outcome(
    submission: SubmitRequest, judgement: Judgement, decided: Decided, receipt: Receipt
) -> Outcome:
    if receipt.earlier is not None and receipt.earlier.body_hash != body_hash(submission):
        return _reused()
    return refusal(judgement, decided.alert_id)


def refusal(judgement: Judgement, alert_id: str) -> CallError:
    """Return the error that tells a caller why a submission was refused, and names the alert."""
    if judgement.violations:
        return CallError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_INPUT",
            "The submission breaks a rule of shape. Mend the fields named in the details.",
            metadata={"alert_id": alert_id},
            fields=judgement.violations,
        )
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        "The submission holds what must not be sent: personal data, a secret or a keyword. Remove "
        "it from the fields named in the details.",
        metadata={"alert_id": alert_id, "detectors": ",".join(judgement.detectors)},
        fields=[
            FieldError(
                finding.pointer,
                finding.detector.upper(),
                f"Detector {finding.detector} found something here. Remove it or mask it.",
            )
            for finding in judgement.rejecting
        ],
    )


def _alert(
    submission: SubmitRequest, judgement: Judgement, http_request_id: str
) -> RaiseAlertRequest:
    alert = RaiseAlertRequest(
        alert_id=_alert_id(submission, judgement.valid_request_id),
        event_type="INVALID_INPUT" if judgement.violations else "PII",
        source=judgement.told_source,
        payload=submission.data if submission.HasField("data") else None,
        findings=judgement.findings_message()[:MAX_ALERT_FINDINGS],
        violations=judgement.violations_message()[:MAX_ALERT_FINDINGS],
        request_id=judgement.valid_request_id,
        http_request_id=http_request_id,
    )
    alert.raise_time.GetCurrentTime()
    return alert


def _alert_id(submission: SubmitRequest, request_id: str) -> str:
    """Return an id that a repeated call shares, when the caller made it repeatable."""
    if not request_id:
        return str(ULID()).lower()
    identity = request_id.encode() + b"\0" + body_hash(submission)
    return hashlib.sha256(identity).hexdigest()[:32]


def _reused() -> CallError:
    return CallError(
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        "This request_id stands for another submission. Use a new one for each submission.",
    )


def _unavailable() -> CallError:
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "QUEUE_UNAVAILABLE",
        "Nothing is promised: the queue did not confirm. Repeat the call with the same request_id.",
        retry_after=1.0,
    )
