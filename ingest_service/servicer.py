"""The IngestService of the contract: answers its calls by the intake and the states of jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import grpc

from ingest_service import tasks
from ingest_service.intake import Intake
from ingest_service.job_lookups import JobLookups
from ingest_service.judgement import finding_messages, violation_messages
from ingest_service.named_fields import NAMED_FIELDS
from ingest_service.parts import Outcome
from job_store.errors import QueueUnavailable
from mesh.errors import MAX_STATUS_BYTES, CallError
from mesh.handlers import Context, request_id
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceServicer
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED

RECEIVED = "Task received and is being processed"

FIRST_WATCH_SECONDS = 0.02
BATCH_ROOM = 1024 * 1024
"""Bytes that all errors of a batch may take for what they name, beside what each has in any case:
about 500 bytes, 850 as JSON. So 5,000 of them stay below what one answer may hold."""

LONGEST_WATCH_SECONDS = 1.0


class IngestServicer(IngestServiceServicer):
    """Answers the calls of sluice.ingest.v1.IngestService."""

    def __init__(
        self,
        intake: Intake,
        lookups: JobLookups,
        retention_seconds: int,
    ) -> None:
        self._intake = intake
        self._lookups = lookups
        self._retention_seconds = retention_seconds

    async def Submit(
        self, request: ingest.SubmitRequest, context: Context
    ) -> ingest.SubmitResponse:
        """Take one submission."""
        (outcome,) = await self._intake.take((request,), partial(request_id, context))
        if isinstance(outcome, CallError):
            raise outcome
        return ingest.SubmitResponse(message=RECEIVED, task_id=outcome)

    async def SubmitBatch(
        self, request: ingest.SubmitBatchRequest, context: Context
    ) -> ingest.SubmitBatchResponse:
        """Take many submissions; each has its own verdict."""
        response = ingest.SubmitBatchResponse()
        response.accepted = await self._take_batch(request, response, context)
        response.rejected = len(response.results) - response.accepted
        return response

    async def SubmitStream(
        self, request_iterator: AsyncIterator[ingest.SubmitStreamRequest], context: Context
    ) -> AsyncIterator[ingest.SubmitStreamResponse]:
        """Take submissions for as long as the caller sends them."""
        async for request in request_iterator:
            response = ingest.SubmitStreamResponse()
            await self._take_batch(request, response, context)
            yield response

    async def Scan(self, request: ingest.ScanRequest, context: Context) -> ingest.ScanResponse:
        """Judge, and record nothing."""
        known = ingest.ScanRequest.DESCRIPTOR.fields_by_name
        names = [field.name for field in NAMED_FIELDS if field.name in known]
        submission = ingest.SubmitRequest(
            data=request.data if request.HasField("data") else None,
            **{name: getattr(request, name) for name in names},
        )
        judgement = await self._intake.judge(submission)
        return ingest.ScanResponse(
            verdict=VERDICT_REJECTED if judgement.refusal else VERDICT_ACCEPTED,
            violations=violation_messages(judgement.violations),
            findings=finding_messages(judgement.findings),
            shadow_findings=finding_messages(judgement.shadow_findings),
            finding_count=judgement.finding_count,
            violation_count=judgement.violation_count,
            shadow_finding_count=judgement.shadow_finding_count,
        )

    async def GetStatus(
        self, request: ingest.GetStatusRequest, context: Context
    ) -> ingest.GetStatusResponse:
        """Tell where a task stands."""
        return await self._task(request.task_id)

    async def WatchStatus(
        self, request: ingest.WatchStatusRequest, context: Context
    ) -> AsyncIterator[ingest.WatchStatusResponse]:
        """Tell where a task stands, now and at every change, until its state is final."""
        told: ingest.GetStatusResponse | None = None
        pause = FIRST_WATCH_SECONDS
        while True:
            task = await self._task(request.task_id)
            if task != told:
                yield ingest.WatchStatusResponse(task=task)
                told, pause = task, FIRST_WATCH_SECONDS
            if task.state in tasks.FINAL:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_WATCH_SECONDS)

    async def refuse_undecodable(self, method: str, context: Context) -> None:
        """Alert about a submission that is no message; other calls need no alert."""
        if method.startswith("Submit"):
            await self._intake.refuse_undecodable(request_id(context))

    async def _take_batch(
        self,
        batch: ingest.SubmitBatchRequest | ingest.SubmitStreamRequest,
        response: ingest.SubmitBatchResponse | ingest.SubmitStreamResponse,
        context: Context,
    ) -> int:
        """Take a batch, put its results into the response, and return how many were accepted."""
        http_request_id = partial(request_id, context)
        outcomes = await self._intake.take_batch(batch, http_request_id)
        return _tell(outcomes, response, http_request_id)

    async def _task(self, task_id: str) -> ingest.GetStatusResponse:
        job_id, index = tasks.parse(task_id)
        try:
            record = await self._lookups(job_id)
        except QueueUnavailable:
            raise CallError(
                grpc.StatusCode.UNAVAILABLE,
                "STATUS_UNAVAILABLE",
                "The state cannot be read at the moment. Repeat the call.",
                retry_after=1.0,
            ) from None
        return tasks.task_of(task_id, index, record, self._retention_seconds, time.time())


def _tell(
    outcomes: Sequence[Outcome],
    response: ingest.SubmitBatchResponse | ingest.SubmitStreamResponse,
    http_request_id: Callable[[], str],
) -> int:
    """Put the results of a batch into its response, so that it can be sent in one answer.

    Returns how many were accepted.
    """
    refused = sum([isinstance(outcome, CallError) for outcome in outcomes])
    room = min(MAX_STATUS_BYTES, BATCH_ROOM // refused) if refused else 0
    for outcome in outcomes:
        # Filled in where it lies: to copy it there would cost more than to make it.
        result = response.results.add()
        if not isinstance(outcome, CallError):
            result.verdict = VERDICT_ACCEPTED
            result.task_id = outcome
            continue
        result.error.CopyFrom(outcome.status(http_request_id(), room))
        if outcome.code is grpc.StatusCode.INVALID_ARGUMENT:
            result.verdict = VERDICT_REJECTED
    return len(outcomes) - refused
