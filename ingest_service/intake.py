"""Takes submissions in: judges each, alerts before it refuses, records before it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ingest_service import refusals
from ingest_service.alerts import Alerts
from ingest_service.call_refusals import CallRefusals
from ingest_service.gate import Gate
from ingest_service.judgement import Judgement
from ingest_service.judging import Judge
from ingest_service.named_fields import REQUEST_ID
from ingest_service.partitioned_recorder import PartitionedRecorder
from ingest_service.parts import Outcome, Part, alert_id, cut, parts_of, repeated
from ingest_service.replays import Replays
from ingest_service.submission import Submission
from ingest_service.validation import batch_violations
from job_store.errors import QueueFull, QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Receipt
from mesh.background import Background
from mesh.errors import CallError, FieldError
from sluice.ingest.v1.ingest_service_pb2 import (
    SubmitBatchRequest,
    SubmitRequest,
    SubmitStreamRequest,
)
from sluice.verdict.v1.verdict_pb2 import Violation

NOTHING_STORED = frozenset({"QUEUE_FULL", "QUEUE_UNAVAILABLE", "ALERTS_FULL", "HELD_BACK"})
"""Reasons of errors after which a submission may be sent again as it is."""


class Intake:
    """The one way in, for a single submission as for thousands."""

    def __init__(self, gate: Gate, alerts: Alerts, recorder: PartitionedRecorder) -> None:
        self._judge = Judge(gate)
        self._alerts = alerts
        self._recorder = recorder
        self._replays = Replays(alerts, recorder)
        self._call_refusals = CallRefusals(alerts, recorder)
        self._background = Background()

    async def judge(self, submission: SubmitRequest) -> Judgement:
        """Return the judgement on one submission, of which nothing is recorded.

        Raises when detection fails: then nothing is known, and the submission must be refused.
        """
        return await self._judge.judge(submission)

    async def take(
        self, messages: Iterable[SubmitRequest], http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Return what became of each submission, in order.

        Accepted means durable in the queue. Refused means that the alert is durable and the masked
        interaction is recorded. Once judged, this is done even when the caller goes away. Raises
        CallError when nothing could be stored.
        """
        submissions = list(map(Submission, messages))
        judgements = await self._judge.judge_all(submissions)
        parts = parts_of(submissions, judgements)
        return _unless_nothing_stored(await self._take(parts, http_request_id))

    def suspects(self, texts: Sequence[str]) -> Collection[int]:
        """Return the indices of the texts in which something may be. In the others nothing is."""
        return self._judge.suspects(texts)

    async def take_known(
        self,
        submissions: Sequence[Submission],
        known: Sequence[Judgement | None],
        http_request_id: Callable[[], str],
    ) -> list[Outcome]:
        """Return what became of submissions that the service itself made, as `take` does.

        `known` are the judgements on those that need none, None for the others.
        """
        judgements = await self._judge.judge_rest(known, submissions)
        parts = parts_of(submissions, judgements)
        return _unless_nothing_stored(await self._take(parts, http_request_id))

    async def take_batch(
        self, batch: SubmitBatchRequest | SubmitStreamRequest, http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Return what became of each submission of a batch or a piece of a stream, in order.

        With a request id of its own the batch is recorded in parts, each whole under that id: a
        repeated call gets the answer of those that are recorded, and the others are recorded then.
        Raises CallError as `take` does, and when the batch breaks a rule or its id stands for
        another one.
        """
        if violations := batch_violations(batch):
            raise await self.refuse(violations, http_request_id())
        if not batch.request_id:
            return await self.take(batch.submissions, http_request_id)
        request = Request.of_batch(batch.request_id, batch.SerializeToString(deterministic=True))
        if violations := await self._id_violations(batch.request_id, request.part(0)):
            raise await self._background.run(
                self._call_refusals.refuse(violations, http_request_id(), request=request.part(0))
            )
        submissions = list(map(Submission, batch.submissions))
        judgements = await self._judge.judge_all(submissions)
        parts = [
            Part(
                submissions[start:end], judgements[start:end], request.part(start), batch.request_id
            )
            for start, end in cut(submissions)
        ]
        return await self._background.run(self._take_parts(parts, http_request_id))

    async def refuse(self, violations: Sequence[FieldError], http_request_id: str) -> CallError:
        """Alert about and record a call that breaks these rules; return the error for it.

        Raises CallError when either is not possible.
        """
        return await self._background.run(self._call_refusals.refuse(violations, http_request_id))

    async def refuse_undecodable(self, http_request_id: str) -> None:
        """Alert about and record a request that is no message. Raises CallError when either is not
        possible.
        """
        violation = FieldError("", "UNDECODABLE", "The request is no message.")
        await self._background.run(
            self._call_refusals.refuse([violation], http_request_id, "[undecodable]")
        )

    async def record_refusal(self, rule: Violation, client: str, http_request_id: str) -> str:
        """Alert about and record a request that the gateway refused; return the alert's id.

        Raises CallError when either is not possible.
        """
        return await self._background.run(
            self._call_refusals.record_at_gateway(rule, client, http_request_id)
        )

    async def close(self) -> None:
        """Wait until everything that was taken in is durable or has failed."""
        await self._background.close()
        self._judge.close()
        await self._recorder.close()

    async def _id_violations(self, request_id: str, first: Request) -> Sequence[FieldError]:
        """Return the rules that the id of a batch breaks: none when it stands for one already.

        Raises CallError when that is not known.
        """
        named = SubmitRequest(request_id=request_id)
        named.data.bool_value = True
        violations = (await self.judge(named)).violations
        if not violations or not REQUEST_ID.pattern.fullmatch(request_id):
            return violations
        earlier = (await self._replays.look_up({0: first})).get(0)
        if isinstance(earlier, QueueUnavailable):
            raise refusals.not_stored(earlier)
        return violations if earlier is None else ()

    async def _take_parts(
        self, parts: Sequence[Part], http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Record the parts of a batch: the first one alone, so that the id belongs to this batch.

        Without it nothing else is recorded, and no other alert raised.
        """
        first, others = parts[:1], parts[1:]
        outcomes = _unless_nothing_stored(await self._take(first, http_request_id))
        reasons = {each.reason for each in outcomes if isinstance(each, CallError)}
        if "REQUEST_ID_REUSED" in reasons:
            raise refusals.request_id_reused()
        if "HELD_BACK" in reasons or "DETECTION_FAILED" in reasons:
            return outcomes + [refusals.held_back() for part in others for _ in part.submissions]
        if others:
            outcomes += await self._take(others, http_request_id)
        return outcomes

    async def _take(
        self, parts: Sequence[Part], http_request_id: Callable[[], str]
    ) -> list[Outcome]:
        """Record the parts; when some need more than that, also when the caller goes away."""
        if all([part.is_accepted for part in parts]):  # noqa: C419 - a list is faster
            outcomes = await self._record(parts)
        else:
            outcomes = await self._background.run(self._settle(parts, http_request_id()))
        return list(chain.from_iterable(outcomes))

    async def _settle(
        self, parts: Sequence[Part], http_request_id: str
    ) -> Sequence[Sequence[Outcome]]:
        """Raise the alerts, then record whatever was accepted or has its alert."""
        repeats = repeated(parts)
        # What is accepted is compared with what its request id stands for when it is recorded.
        earlier = await self._replays.look_up(
            {
                index: part.request
                for index, part in enumerate(parts)
                if not part.is_accepted and part.request is not None and index not in repeats
            }
        )
        fresh = [i for i in range(len(parts)) if i not in earlier and i not in repeats]
        await _all(
            [
                self._raise_alert(parts[i], index, http_request_id)
                for i in fresh
                for index, judgement in enumerate(parts[i].judgements)
                if judgement.refusal
            ]
        )
        recorded = [i for i in fresh if not parts[i].failures]
        outcomes = {i: parts[i].failed() for i in fresh if parts[i].failures}
        if recorded:
            answers = await self._record([parts[i] for i in recorded])
            outcomes |= zip(recorded, answers, strict=True)
        if earlier:
            outcomes |= await self._replay(parts, earlier)
        for i, first in repeats.items():
            same = parts[i].request == parts[first].request
            outcomes[i] = outcomes[first] if same else [refusals.request_id_reused()]
        return [outcomes[i] for i in range(len(parts))]

    async def _raise_alert(self, part: Part, index: int, http_request_id: str) -> None:
        """Raise the alert about a submission of a part, and keep its id or why there is none."""
        identity = alert_id(part.request, self._recorder.secret_of, index)
        try:
            part.alert_ids[index] = await self._alerts.raise_alert(
                lambda: part.alert(index, identity, http_request_id)
            )
        except (QueueUnavailable, QueueFull) as error:
            part.failures[index] = refusals.not_alerted(error)

    async def _record(self, parts: Sequence[Part]) -> Sequence[Sequence[Outcome]]:
        """Record parts that are accepted or have their alerts; return what the callers get."""
        receipts = await self._recorder.record(list(map(Part.entry, parts)))
        outcomes: list[Sequence[Outcome]] = []
        earlier: dict[int, Receipt | QueueUnavailable] = {}
        for part, receipt in zip(parts, receipts, strict=True):
            if isinstance(receipt, Receipt) and receipt.earlier is not None:
                earlier[len(outcomes)] = receipt
            outcomes.append(part.outcomes(receipt))
        if earlier:
            replays = await self._replay(parts, earlier)
            for index, replay in replays.items():
                outcomes[index] = replay
        return outcomes

    async def _replay(
        self, parts: Sequence[Part], receipts: Mapping[int, Receipt | QueueUnavailable]
    ) -> dict[int, Sequence[Outcome]]:
        """Return what the callers got before, for the parts with these receipts."""
        replays = await asyncio.gather(
            *[self._replays.outcomes(parts[index], each) for index, each in receipts.items()]
        )
        return dict(zip(receipts, replays, strict=True))


async def _all(calls: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Make calls at the same time; one alone at less cost."""
    if len(calls) == 1:
        await calls[0]
    else:
        await asyncio.gather(*calls)


def _unless_nothing_stored(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the outcomes. Raises the first when it is an error and nothing at all was stored."""
    first = outcomes[0]
    if isinstance(first, CallError) and all(
        isinstance(each, CallError) and each.reason in NOTHING_STORED for each in outcomes
    ):
        raise first
    return outcomes
