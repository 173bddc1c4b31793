"""Takes submissions in: judges each, alerts before it refuses, records before it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.struct_pb2 import Value
from ulid import ULID

from ingest_service import metrics
from ingest_service.alerts import Alerts
from ingest_service.gate import Gate, Judgement
from ingest_service.group_commit import Overfull
from ingest_service.recorder import Decided, Recorder, Unstored, entry
from ingest_service.validation import MAX_BATCH, is_name
from job_store.errors import QueueFull, QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Receipt, receipt_of
from mesh.errors import MAX_FIELDS, CallError, FieldError
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.ingest.v1.ingest_service_pb2 import (
    SubmitBatchRequest,
    SubmitRequest,
    SubmitStreamRequest,
)
from sluice.job.v1.job_pb2 import RequestRecord
from sluice.verdict.v1.verdict_pb2 import ACTION_REJECT, Violation

log = logger("ingest.intake")

Result = TypeVar("Result")

Outcome = str | CallError
"""A task id, or the error that the caller gets for this submission."""

MAX_JUDGED_INLINE_BYTES = 32 * 1024
MAX_SIEVED_BYTES = 256 * 1024
SIEVED_TOGETHER = 100
"""What one of them holds sends all of them to be judged one by one, so not all go together."""
PART_BYTES = 512 * 1024
"""Of the submissions of a batch with a request id, that are recorded whole and under one record. A
batch is cut by what was sent, and by nothing that could be different when it is repeated."""

ACCEPTED, CONTENT_REFUSED, SHAPE_REFUSED, BATCH_REFUSED = range(4)
"""The decisions, as sluice.job.v1.RequestRecord has them in `refusals`."""

NOTHING_STORED = ("QUEUE_FULL", "QUEUE_UNAVAILABLE", "ALERTS_FULL", "HELD_BACK")
"""Reasons of errors after which a submission may be sent again as it is."""


class _Unit(NamedTuple):
    """Submissions that are recorded whole or not at all: one, or a part of a batch with an id.

    A judgement that is None found nothing. `request_id` is what is told of it: empty where there is
    no valid one. `request` is None where there is no well-formed one; one that is refused by the
    policy of now may stand for something all the same.
    """

    submissions: Sequence[SubmitRequest]
    judgements: Sequence[Judgement | CallError | None]
    request_id: str
    request: Request | None

    @property
    def is_refused(self) -> bool:
        """Whether an alert has to be raised for it."""
        return any(isinstance(each, Judgement) and each.refused for each in self.judgements)

    @property
    def is_accepted(self) -> bool:
        """Whether all of it can be recorded as it is."""
        return not self.is_refused and not any(
            isinstance(each, CallError) for each in self.judgements
        )

    @property
    def identified(self) -> Request | None:
        """The request with the decisions that its record is to hold."""
        if self.request is None or not self.is_refused:
            return self.request
        return self.request._replace(refusals=bytes(map(_decision, self.judgements)))


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
        judgements = await self._judgements(submissions)
        if judgements is None:
            return await self._take_plain(submissions)
        units = [_unit(*each) for each in zip(submissions, judgements, strict=True)]
        return _told(await self._take(units, http_request_id))

    async def take_batch(
        self, batch: SubmitBatchRequest | SubmitStreamRequest, http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Return what became of each submission of a batch or a piece of a stream, in order.

        With a request id of its own the batch is recorded in parts, each whole under that id: a
        repeated call gets the answer of those that are recorded, and the others are recorded then.
        Raises CallError as `take` does, and when the batch breaks a rule or its id stands for
        another one.
        """
        if violations := _violations(batch):
            raise await self._see_through(self._refuse_call(violations, http_request_id()))
        if not batch.request_id:
            return await self.take(batch.submissions, http_request_id)
        request = Request.of_batch(batch.request_id, batch.SerializeToString(deterministic=True))
        if violations := await self._id_violations(batch.request_id, request.part(0)):
            raise await self._see_through(
                self._refuse_call(violations, http_request_id(), request=request.part(0))
            )
        submissions = list(batch.submissions)
        judgements = await self._judgements(submissions) or [None] * len(submissions)
        units = [
            _Unit(submissions[start:end], judgements[start:end], batch.request_id, part)
            for start, end in _parts(submissions)
            for part in [request.part(start)]
        ]
        return await self._see_through(self._take_parts(units, http_request_id))

    async def refuse_undecodable(self, http_request_id: str) -> None:
        """Alert about and record a request that is no message. Raises CallError when neither is
        possible.
        """
        violation = FieldError("", "UNDECODABLE", "The request is no message.")
        await self._see_through(self._refuse_call([violation], http_request_id, "[undecodable]"))

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

    async def _are_clean(self, submissions: Sequence[SubmitRequest]) -> bool:
        """Tell whether nothing can be in any of them, where that can be told quickly."""
        try:
            for start in range(0, len(submissions), SIEVED_TOGETHER):
                if start:
                    await asyncio.sleep(0)
                some = submissions[start : start + SIEVED_TOGETHER]
                if sum([each.ByteSize() for each in some]) > MAX_SIEVED_BYTES:
                    return False
                if not self._gate.are_clean(some):
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

    async def _judgements(
        self, submissions: Sequence[SubmitRequest]
    ) -> list[Judgement | CallError | None] | None:
        """Return the judgements on these submissions, or None when nothing is in any of them."""
        if await self._are_clean(submissions):
            metrics.ACCEPTED.inc(len(submissions))
            return None
        return [await self._judge(submission) for submission in submissions]

    async def _id_violations(self, request_id: str, first: Request) -> Sequence[FieldError]:
        """Return the rules that the id of a batch breaks: none when it stands for one already.

        Raises CallError when that is not known.
        """
        named = SubmitRequest(request_id=request_id)
        named.data.bool_value = True
        violations = (await self.judge(named)).violations.listed
        if not violations or not is_name(request_id):
            return violations
        earlier = await self._earlier({0: first})
        if isinstance(earlier.get(0), QueueUnavailable):
            raise _unavailable()
        return () if earlier else violations

    async def _take_plain(self, submissions: Sequence[SubmitRequest]) -> list[Outcome]:
        """Record submissions in which nothing is: what most calls come to, in the fewest steps."""
        receipts = await self._recorder.record(
            [entry([_plain(each)], _request(each, each.request_id)) for each in submissions]
        )
        outcomes: list[Outcome] = [
            f"{receipt.job_id}-{receipt.first}"
            if isinstance(receipt, Receipt)
            else _unstored(receipt)
            for receipt in receipts
        ]
        repeated = {
            number: self._replay(_unit(submissions[number], None), receipt)
            for number, receipt in enumerate(receipts)
            if isinstance(receipt, Receipt) and receipt.earlier is not None
        }
        if repeated:
            replays = await asyncio.gather(*repeated.values())
            for number, (outcome,) in zip(repeated, replays, strict=True):
                outcomes[number] = outcome
        return _told(outcomes)

    async def _take_parts(
        self, parts: Sequence[_Unit], http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Record the parts of a batch: the first one alone, so that the id belongs to this batch.

        Without it nothing else is recorded, and no other alert raised.
        """
        first, others = parts[:1], parts[1:]
        outcomes = _told(await self._take(first, http_request_id))
        reasons = {each.reason for each in outcomes if isinstance(each, CallError)}
        if "REQUEST_ID_REUSED" in reasons:
            raise _reused()
        if "HELD_BACK" in reasons or "DETECTION_FAILED" in reasons:
            return outcomes + [_held_back() for part in others for _ in part.submissions]
        return outcomes + await self._take(others, http_request_id)

    async def _take(
        self, units: Sequence[_Unit], http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Record the units; see them through once one of them is refused."""
        if any(unit.is_refused for unit in units):
            settled = await self._see_through(self._settle(units, http_request_id()))
        else:
            settled = await self._settle(units, "")
        return [outcome for outcomes in settled for outcome in outcomes]

    async def _settle(
        self, units: Sequence[_Unit], http_request_id: str
    ) -> Sequence[Sequence[Outcome]]:
        """Raise the alerts, then record whatever was accepted or has its alert."""
        firsts: dict[tuple[str, bytes], int] = {}
        for number, unit in enumerate(units):
            if unit.request is not None:
                firsts.setdefault(unit.request[:2], number)
        repeats = {
            number: first
            for number, unit in enumerate(units)
            if unit.request is not None and (first := firsts[unit.request[:2]]) != number
        }
        earlier = await self._earlier(
            {
                number: unit.request
                for number, unit in enumerate(units)
                if unit.request is not None and not unit.is_accepted and number not in repeats
            }
        )
        known = earlier.keys() | repeats.keys()
        fresh = [number for number in range(len(units)) if number not in known]
        alerts = await self._raise_alerts(units, fresh, http_request_id)
        decided = {number: _decided(units[number], alerts.get(number, {})) for number in fresh}
        storable = {
            number: entry([each for each in decisions if isinstance(each, Decided)], request)
            for number, decisions in decided.items()
            if not any(isinstance(each, CallError) for each in decisions)
            for request in [units[number].identified]
        }
        receipts = await self._recorder.record(list(storable.values())) if storable else []
        found = dict(zip(storable, receipts, strict=True))
        found |= {
            number: record if isinstance(record, QueueUnavailable) else receipt_of(record)
            for number, record in earlier.items()
        }
        replayed = {
            number: receipt
            for number, receipt in found.items()
            if isinstance(receipt, Receipt) and receipt.earlier is not None
        }
        settled: dict[int, Sequence[Outcome]] = {
            number: _outcomes(unit, decided.get(number, ()), found.get(number))
            for number, unit in enumerate(units)
            if number not in replayed and number not in repeats
        }
        replays = await asyncio.gather(
            *[self._replay(units[number], receipt) for number, receipt in replayed.items()]
        )
        settled.update(zip(replayed, replays, strict=True))
        for number, first in repeats.items():
            same = units[number].request == units[first].request
            settled[number] = settled[first] if same else [_reused()]
        return [settled[number] for number in range(len(units))]

    async def _earlier(
        self, requests: Mapping[int, Request]
    ) -> dict[int, RequestRecord | QueueUnavailable]:
        """Return what those of the requests stand for that are recorded, or why it is not known."""
        if not requests:
            return {}
        try:
            records = await self._recorder.look_up(list(requests.values()))
        except (QueueUnavailable, QueueFull, Overfull):
            return dict.fromkeys(requests, QueueUnavailable())
        return {
            number: record
            for number, record in zip(requests, records, strict=True)
            if record is not None
        }

    async def _raise_alerts(
        self, units: Sequence[_Unit], numbers: Sequence[int], http_request_id: str
    ) -> dict[int, dict[int, str | CallError]]:
        """Raise the alerts of those units; return by unit and place their ids, or their errors."""
        alerts = [
            (number, place, self._alert(unit, place, judgement, http_request_id))
            for number in numbers
            for unit in [units[number]]
            for place, judgement in enumerate(unit.judgements)
            if isinstance(judgement, Judgement) and judgement.refused
        ]
        raised = await asyncio.gather(*[self._raise_alert(alert) for _, _, alert in alerts])
        found: dict[int, dict[int, str | CallError]] = {}
        for (number, place, _), alert_id in zip(alerts, raised, strict=True):
            found.setdefault(number, {})[place] = alert_id
        return found

    def _alert(
        self, unit: _Unit, place: int, judgement: Judgement, http_request_id: str
    ) -> RaiseAlertRequest:
        submission = unit.submissions[place]
        alert = RaiseAlertRequest(
            alert_id=self._alert_id(unit.request, place),
            event_type="INVALID_INPUT" if judgement.violations.count else "PII",
            source=judgement.told_source,
            payload=submission.data if submission.HasField("data") else None,
            findings=judgement.findings_message(),
            violations=judgement.violations_message(),
            detectors=judgement.detectors,
            request_id=unit.request_id,
            http_request_id=http_request_id,
        )
        if judgement.scan.finding_count > len(alert.findings):
            alert.finding_count, alert.cut = judgement.scan.finding_count, True
        if judgement.violations.count > len(alert.violations):
            alert.violation_count, alert.cut = judgement.violations.count, True
        alert.raise_time.GetCurrentTime()
        return alert

    async def _raise_alert(self, alert: RaiseAlertRequest) -> str | CallError:
        """Return the alert's id, or the error of a caller whose alert is not durable."""
        try:
            return await self._alerts.raise_alert(alert)
        except QueueUnavailable:
            return _unavailable()
        except QueueFull:
            return CallError(
                grpc.StatusCode.UNAVAILABLE,
                "ALERTS_FULL",
                "This cannot be refused at the moment: as many alerts wait for the alert service "
                "as may. Repeat the call after the delay given.",
                retry_after=5.0,
            )

    async def _replay(self, unit: _Unit, receipt: Receipt) -> Sequence[Outcome]:
        """Return what the record says that was answered before, if it is of the same body."""
        record, request = receipt.earlier, unit.request
        if record is None or request is None or record.body_hash != request.body_hash:
            return [_reused()] * len(unit.submissions)
        if record.refusals == bytes([BATCH_REFUSED]):
            alert_id = request.alert_id(self._recorder.secret)
            raise await self._repeated_refusal(SHAPE_REFUSED, alert_id)
        outcomes: list[Outcome] = [*_tasks(unit, receipt)]
        refused = {place: each for place, each in enumerate(record.refusals) if each != ACCEPTED}
        errors = await asyncio.gather(
            *[
                self._repeated_refusal(decision, request.alert_id(self._recorder.secret, place))
                for place, decision in refused.items()
            ]
        )
        for place, error in zip(refused, errors, strict=True):
            outcomes[place] = error
        return outcomes

    async def _repeated_refusal(self, decision: int, alert_id: str) -> CallError:
        """Return the error of a recorded refusal, with its fields while its alert is kept."""
        alert = await self._alerts.read_alert(alert_id)
        if decision == SHAPE_REFUSED:
            return _shape_refusal(
                alert_id,
                [FieldError(each.path, each.rule, each.description) for each in alert.violations],
            )
        return _content_refusal(
            alert_id,
            # An alert of an earlier version names its detectors with its findings only.
            alert.detectors or list(dict.fromkeys(each.detector for each in alert.findings)),
            [(each.path, each.detector) for each in alert.findings if each.action == ACTION_REJECT],
        )

    async def _refuse_call(
        self,
        violations: Sequence[FieldError],
        http_request_id: str,
        withheld: str = "[withheld]",
        request: Request | None = None,
    ) -> CallError:
        """Alert about and record a call that is refused as a whole; return the error for it.

        `request` is to stand for the refusal. Raises CallError when neither is possible.
        """
        if request is not None:
            request = request._replace(refusals=bytes([BATCH_REFUSED]))
        alert = RaiseAlertRequest(
            alert_id=self._alert_id(request),
            event_type="INVALID_INPUT",
            http_request_id=http_request_id,
            violations=[
                Violation(path=each.path, rule=each.reason, description=each.description)
                for each in violations
            ],
        )
        alert_id = await self._alert_and_record(alert, withheld, request)
        return _shape_refusal(alert_id, violations)

    async def _record_refusal(self, rule: Violation, client: str, http_request_id: str) -> str:
        alert = RaiseAlertRequest(
            # Counted once, however often it is told: that is what this id is for.
            alert_id=f"edge-{http_request_id}",
            event_type="INVALID_INPUT",
            violations=[rule],
            http_request_id=http_request_id,
            client=client,
            at_edge=True,
        )
        return await self._alert_and_record(alert, f"[{rule.rule.lower()}]")

    def _alert_id(self, request: Request | None, place: int = 0) -> str:
        """Return the identity of an alert: the same for a repeated call, when it is repeatable."""
        return request.alert_id(self._recorder.secret, place) if request else str(ULID()).lower()

    async def _alert_and_record(
        self, alert: RaiseAlertRequest, withheld: str, request: Request | None = None
    ) -> str:
        """Alert about a call of which nothing is kept, and record that; return the alert's id.

        Raises CallError when that is not possible.
        """
        alert.raise_time.GetCurrentTime()
        alert_id = await self._raise_alert(alert)
        if isinstance(alert_id, CallError):
            raise alert_id
        kept = Decided(Value(string_value=withheld), "", alert_id=alert_id)
        (receipt,) = await self._recorder.record([entry([kept], request)])
        if not isinstance(receipt, Receipt):
            raise _unstored(receipt)
        return alert_id

    async def _see_through(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await `work`, which goes on when the caller is cancelled."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)


def _count(judgement: Judgement) -> None:
    if judgement.violations.count:
        metrics.INVALID.inc()
    elif judgement.refused:
        metrics.REFUSED.inc()
    else:
        metrics.ACCEPTED.inc()
    for detector in judgement.detectors:
        metrics.FINDINGS.labels(detector).inc()


def _plain(submission: SubmitRequest) -> Decided:
    return Decided(submission.data, submission.source, submission.request_id)


def _unit(submission: SubmitRequest, judgement: Judgement | CallError | None) -> _Unit:
    """Return a submission as a unit of its own."""
    request_id = submission.request_id if is_name(submission.request_id) else ""
    request = _request(submission, request_id)
    if isinstance(judgement, Judgement):
        request_id = judgement.valid_request_id
    return _Unit((submission,), (judgement,), request_id, request)


def _request(submission: SubmitRequest, request_id: str) -> Request | None:
    if not request_id:
        return None
    return Request.of(request_id, submission.SerializeToString(deterministic=True))


def _violations(batch: SubmitBatchRequest | SubmitStreamRequest) -> Sequence[FieldError]:
    """Return the rules that a batch breaks as a whole, whatever the policy is."""
    if not 1 <= len(batch.submissions) <= MAX_BATCH:
        return [FieldError("/submissions", "BAD_COUNT", "Send 1 to 5000 submissions at a time.")]
    if not batch.request_id:
        return ()
    return [
        FieldError(
            f"/submissions/{index}/request_id",
            "TWO_IDS",
            "Send a request_id with the batch or with its submissions, not with both.",
        )
        for index, submission in enumerate(batch.submissions)
        if submission.request_id
    ][:1]


def _parts(submissions: Sequence[SubmitRequest]) -> list[tuple[int, int]]:
    """Cut a batch into parts of at most PART_BYTES, or one submission that is larger."""
    parts = []
    start = size = 0
    for index, submission in enumerate(submissions):
        length = submission.ByteSize()
        if size and size + length > PART_BYTES:
            parts.append((start, index))
            start, size = index, 0
        size += length
    return [*parts, (start, len(submissions))]


def _decision(judgement: Judgement | CallError | None) -> int:
    if not isinstance(judgement, Judgement) or not judgement.refused:
        return ACCEPTED
    return SHAPE_REFUSED if judgement.violations.count else CONTENT_REFUSED


def _told(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes. Raises the first when it is an error and nothing at all was stored."""
    first = outcomes[0]
    if isinstance(first, CallError) and all(
        isinstance(each, CallError) and each.reason in NOTHING_STORED for each in outcomes
    ):
        raise first
    return outcomes


def _decided(unit: _Unit, alerts: Mapping[int, str | CallError]) -> Sequence[Decided | CallError]:
    """Return what goes on record of each submission of a unit, or why nothing does."""
    decided: list[Decided | CallError] = []
    for place, (submission, judgement) in enumerate(
        zip(unit.submissions, unit.judgements, strict=True)
    ):
        alert_id = alerts.get(place, "")
        if isinstance(judgement, CallError):
            decided.append(judgement)
        elif isinstance(alert_id, CallError):
            decided.append(alert_id)
        elif judgement is None:
            decided.append(Decided(submission.data, submission.source, unit.request_id))
        else:
            decided.append(
                Decided(
                    data=judgement.kept_data,
                    source=judgement.kept_source,
                    request_id=unit.request_id,
                    alert_id=alert_id,
                    detectors=judgement.detectors,
                    masked_widely=judgement.masked_widely,
                )
            )
    return decided


def _outcomes(
    unit: _Unit, decided: Sequence[Decided | CallError], receipt: Receipt | Unstored | None
) -> Sequence[Outcome]:
    """Return what the callers get for a unit that was decided now; without a receipt it failed."""
    if receipt is None:
        return [each if isinstance(each, CallError) else _held_back() for each in decided]
    if not isinstance(receipt, Receipt):
        return [_unstored(receipt)] * len(unit.submissions)
    return [
        refusal(judgement, each.alert_id)
        if isinstance(judgement, Judgement) and isinstance(each, Decided) and each.alert_id
        else task
        for judgement, each, task in zip(
            unit.judgements, decided, _tasks(unit, receipt), strict=True
        )
    ]


def _tasks(unit: _Unit, receipt: Receipt) -> list[str]:
    return [f"{receipt.job_id}-{receipt.first + place}" for place in range(len(unit.submissions))]


def refusal(judgement: Judgement, alert_id: str) -> CallError:
    """Return the error that tells a caller why a submission was refused, and names the alert."""
    if judgement.violations.count:
        return _shape_refusal(alert_id, judgement.violations.listed)
    return _content_refusal(
        alert_id,
        judgement.detectors,
        [(finding.pointer, finding.detector) for finding in judgement.rejecting],
    )


def _shape_refusal(alert_id: str, violations: Sequence[FieldError]) -> CallError:
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
        "The submission breaks a rule of shape. Mend the fields named in the details.",
        metadata={"alert_id": alert_id},
        fields=violations,
    )


def _content_refusal(
    alert_id: str, detectors: Sequence[str], found: Sequence[tuple[str, str]]
) -> CallError:
    """`found` is the path and the detector of each finding that is a reason to refuse."""
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        "The submission holds what must not be sent: personal data, a secret or a keyword. Remove "
        "it from the fields named in the details.",
        metadata={"alert_id": alert_id, "detectors": ",".join(detectors[:MAX_FIELDS])},
        fields=[
            FieldError(
                path,
                detector.upper(),
                f"Detector {detector} found something here. Remove it or mask it.",
            )
            for path, detector in found
        ],
    )


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


def _unstored(reason: Unstored) -> CallError:
    """Return the error for a submission that could not be recorded."""
    if isinstance(reason, QueueUnavailable):
        return _unavailable()
    return CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        "The queue is full and did not take this. Repeat the call after the delay given.",
        retry_after=5.0,
    )


def _held_back() -> CallError:
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "HELD_BACK",
        "Not stored, since another submission of this part of the batch could not be: its error "
        "says why. Repeat the batch with the same request_id.",
        retry_after=1.0,
    )
