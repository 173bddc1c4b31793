"""The LogsService of OpenTelemetry: answers its one call by the intake."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs

from ingest_service.intake import Intake
from ingest_service.judgement import CLEAN
from ingest_service.otlp.records import Export, Reading, rules_broken
from mesh.errors import CallError
from mesh.handlers import Context, request_id
from mesh.logs import logger

log = logger("ingest.otlp")

LOGS = logs.DESCRIPTOR.services_by_name["LogsService"].full_name

RETRY_INFO = "google.rpc.retryinfo-bin"
"""The trailer in which the exporter of OpenTelemetry for Python looks for the delay. Others read
the details of the status, as the specification has it."""

_ALERTS_NAMED = 5
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class LogsServicer:
    """Answers the calls of opentelemetry.proto.collector.logs.v1.LogsService."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(self, export: Any, context: Context) -> logs.ExportLogsServiceResponse:
        """Take log records, each of them a submission.

        When one of them cannot be stored, the call fails with an error after which it may be
        repeated. Of the others those without an id may then be on record twice.
        """
        try:
            return await self._take(export, partial(request_id, context))
        except CallError as error:
            if (retry := error.retry_info()) is not None:
                context.set_trailing_metadata(((RETRY_INFO, retry.SerializeToString()),))
            raise

    async def refuse_undecodable(self, method: str, context: Context) -> None:
        """Alert about a call that is no message."""
        await self._intake.refuse_undecodable(request_id(context))

    async def _take(
        self, export: Any, http_request_id: Callable[[], str]
    ) -> logs.ExportLogsServiceResponse:
        if broken := rules_broken(export):
            raise await self._intake.refuse(broken, http_request_id())
        reading = Reading(export)
        refused: list[CallError] = []
        count = 0
        for share in reading.shares():
            await self._look(reading)
            outcomes = await self._intake.take_known(
                share.submissions, reading.judgements(share), http_request_id
            )
            for outcome in outcomes:
                if isinstance(outcome, CallError):
                    if outcome.code in _AGAIN:
                        raise outcome
                    refused.append(outcome)
            count += len(outcomes)
            await asyncio.sleep(0)
        return _answer(refused, count)

    async def _look(self, reading: Reading) -> None:
        """Find out which of the new pieces something may be in."""
        reading.note(self._intake.suspects(reading.new_texts()))
        for known_as, submission in reading.unsettled_headers():
            # It is in many records: so it is judged once, not with each of them.
            try:
                submission.forget_unseen()
                # It goes on record as it came, so nothing of it may be unseen.
                is_clean = (
                    len(submission.data) == submission.size
                    and await self._intake.judge(submission.message) == CLEAN
                )
            except Exception as error:
                # The judgement on the records meets it again, and fails closed.
                log.error("detection failed", exc_info=error)
                is_clean = False
            reading.settle(known_as, is_clean=is_clean)


def add_to_server(servicer: LogsServicer, server: Any) -> None:
    """Register the servicer. The generated function would have calls read whole."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.Export, Export.FromString, logs.ExportLogsServiceResponse.SerializeToString
    )
    server.add_registered_method_handlers(LOGS, {"Export": handler})


def _answer(refused: Sequence[CallError], count: int) -> logs.ExportLogsServiceResponse:
    """Return the answer to a call of `count` records of which some were refused."""
    answer = logs.ExportLogsServiceResponse()
    if refused:
        reasons = Counter([reason for error in refused for reason in _reasons(error)])
        told = ", ".join([f"{reason} {number}" for reason, number in reasons.most_common()])
        ids = [error.metadata["alert_id"] for error in refused if "alert_id" in error.metadata]
        alerts = ", ".join(ids[:_ALERTS_NAMED]) + (", ..." if len(ids) > _ALERTS_NAMED else "")
        message = f"{len(refused)} of {count} records refused: {told}."
        answer.partial_success.rejected_log_records = len(refused)
        answer.partial_success.error_message = message + (f" Alerts: {alerts}." if ids else "")
    return answer


def _reasons(error: CallError) -> set[str]:
    """Return why one record is refused: names of detectors, or rules."""
    if detectors := error.metadata.get("detectors"):
        return set(detectors.split(","))
    return {field.reason for field in error.fields} or {error.reason}
