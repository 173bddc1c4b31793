"""Calls that are refused as a whole: nothing of what was sent is kept."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.struct_pb2 import Value

from ingest_service import refusals
from ingest_service.alerts import Alerts
from ingest_service.judgement import Refusal, violation_messages
from ingest_service.partitioned_recorder import PartitionedRecorder
from ingest_service.parts import alert_id
from ingest_service.recorder import interaction
from job_store.errors import QueueFull, QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Entry, Receipt
from mesh.errors import CallError, FieldError
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.verdict.v1.verdict_pb2 import Violation


class CallRefusals:
    """Puts refused calls on record: an alert, and an interaction that says only that there was one.

    Every method raises CallError when one of the two is not possible.
    """

    def __init__(self, alerts: Alerts, recorder: PartitionedRecorder) -> None:
        self._alerts = alerts
        self._recorder = recorder

    async def refuse(
        self,
        violations: Sequence[FieldError],
        http_request_id: str,
        recorded: str = "[withheld]",
        request: Request | None = None,
    ) -> CallError:
        """Return the error for a call that breaks these rules; `request` is to stand for it."""
        if request is not None:
            request = request._replace(refusals=bytes([Refusal.BATCH]))
        alert = RaiseAlertRequest(
            alert_id=alert_id(request, self._recorder.secret_of),
            event_type="INVALID_INPUT",
            http_request_id=http_request_id,
            violations=violation_messages(violations),
        )
        return refusals.shape_refused(await self._record(alert, recorded, request), violations)

    async def record_at_gateway(self, rule: Violation, client: str, http_request_id: str) -> str:
        """Record a request that the gateway refused; return the id of the alert that counts it."""
        alert = RaiseAlertRequest(
            # Counted once, however often it is told: that is what this id is for.
            alert_id=f"edge-{http_request_id}",
            event_type="INVALID_INPUT",
            violations=[rule],
            http_request_id=http_request_id,
            client=client,
            at_edge=True,
        )
        return await self._record(alert, f"[{rule.rule.lower()}]")

    async def _record(
        self, alert: RaiseAlertRequest, recorded: str, request: Request | None = None
    ) -> str:
        alert.raise_time.GetCurrentTime()
        try:
            identity = await (
                self._alerts.count_alert(alert)
                if alert.at_edge
                else self._alerts.raise_alert(lambda: alert)
            )
        except (QueueUnavailable, QueueFull) as error:
            raise refusals.not_alerted(error) from None
        piece = interaction(Value(string_value=recorded).SerializeToString(), alert_id=identity)
        (receipt,) = await self._recorder.record([Entry(piece, request=request)])
        if not isinstance(receipt, Receipt):
            raise refusals.not_stored(receipt)
        return identity
