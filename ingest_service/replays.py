"""Repeated calls: they get the answer that the first one got, from what is recorded of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ingest_service import refusals
from ingest_service.alerts import Alerts
from ingest_service.judgement import Refusal
from ingest_service.partitioned_recorder import PartitionedRecorder
from ingest_service.parts import Outcome, Part
from job_store.errors import QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Receipt, receipt_of
from mesh.errors import CallError, FieldError
from sluice.job.v1.job_pb2 import RequestRecord
from sluice.verdict.v1.verdict_pb2 import ACTION_REJECT


class Replays:
    """Answers calls that were answered before, whatever the policy is by now."""

    def __init__(self, alerts: Alerts, recorder: PartitionedRecorder) -> None:
        self._alerts = alerts
        self._recorder = recorder

    async def look_up(
        self, requests: Mapping[int, Request]
    ) -> dict[int, Receipt | QueueUnavailable]:
        """Return the receipts of those of the requests that are recorded, or why none is known."""
        if not requests:
            return {}
        records = await self._recorder.look_up(list(requests.values()))
        return {
            index: receipt_of(record) if isinstance(record, RequestRecord) else QueueUnavailable()
            for index, record in zip(requests, records, strict=True)
            if record is not None
        }

    async def outcomes(self, part: Part, receipt: Receipt | QueueUnavailable) -> Sequence[Outcome]:
        """Return what the record says that was answered before, if it is of the same body.

        Raises the error of a batch that was refused as a whole.
        """
        if isinstance(receipt, QueueUnavailable):
            return part.outcomes(receipt)
        record, request = receipt.earlier, part.request
        if record is None or request is None or record.body_hash != request.body_hash:
            return [refusals.request_id_reused()] * len(part.submissions)
        secret = self._recorder.secret_of(request)
        if record.refusals == bytes([Refusal.BATCH]):
            raise await self._refusal(Refusal.SHAPE, request.alert_id(secret))
        outcomes: list[Outcome] = [*part.tasks(receipt)]
        refused = [index for index, each in enumerate(record.refusals) if each != Refusal.NONE]
        errors = await asyncio.gather(
            *[
                self._refusal(record.refusals[index], request.alert_id(secret, index))
                for index in refused
            ]
        )
        for index, error in zip(refused, errors, strict=True):
            outcomes[index] = error
        return outcomes

    async def _refusal(self, refusal: int, alert_id: str) -> CallError:
        """Return the error of a recorded refusal, with its fields while its alert is kept."""
        alert = await self._alerts.read_alert(alert_id)
        if refusal == Refusal.SHAPE:
            return refusals.shape_refused(
                alert_id,
                [FieldError(each.path, each.rule, each.description) for each in alert.violations],
            )
        return refusals.content_refused(
            alert_id,
            # An alert of an earlier version names its detectors with its findings only.
            alert.detectors or list(dict.fromkeys(each.detector for each in alert.findings)),
            [(each.path, each.detector) for each in alert.findings if each.action == ACTION_REJECT],
        )
