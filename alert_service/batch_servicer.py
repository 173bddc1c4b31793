"""The AlertBatchService of the contract: records the alerts that are raised together."""

from __future__ import annotations

from alert_service.recorder import AlertRecorder
from alert_service.servicer import invalid_alert
from alert_service.validation import is_name, violations_of
from mesh.errors import CallError, FieldError
from mesh.handlers import Context, request_id
from sluice.alert.v1.alert_batch_service_pb2 import (
    RaiseAlertResult,
    RaiseAlertsRequest,
    RaiseAlertsResponse,
)
from sluice.alert.v1.alert_batch_service_pb2_grpc import AlertBatchServiceServicer
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

MAX_ALERTS = 100
"""That a call raises."""


class AlertBatchServicer(AlertBatchServiceServicer):
    """Answers the calls of sluice.alert.v1.AlertBatchService."""

    def __init__(self, recorder: AlertRecorder) -> None:
        self._recorder = recorder

    async def RaiseAlerts(
        self, request: RaiseAlertsRequest, context: Context
    ) -> RaiseAlertsResponse:
        """Record the alerts. One that breaks a rule keeps no other from being recorded."""
        alerts = request.alerts
        if len(alerts) > MAX_ALERTS:
            raise invalid_alert([FieldError("/alerts", "TOO_MANY", "Raise at most 100 at a time.")])
        results: dict[int, RaiseAlertResult] = {}
        valid = []
        for index, alert in enumerate(alerts):
            violations = _violations_of(alert)
            if violations:
                results[index] = _failed(invalid_alert(violations), context)
                continue
            # A malformed id is no reason to refuse an alert.
            if not is_name(alert.http_request_id):
                alert.ClearField("http_request_id")
            valid.append(index)
        receipts = await self._recorder.record_all([alerts[index] for index in valid])
        for index, receipt in zip(valid, receipts, strict=True):
            results[index] = (
                _failed(receipt, context)
                if isinstance(receipt, CallError)
                else RaiseAlertResult(receipt=receipt)
            )
        return RaiseAlertsResponse(results=[results[i] for i in range(len(alerts))])


def _violations_of(alert: RaiseAlertRequest) -> list[FieldError]:
    violations = violations_of(alert)
    if alert.at_edge:
        violations.append(FieldError("/at_edge", "NOT_HERE", "Raise it by a call of its own."))
    return violations


def _failed(error: CallError, context: Context) -> RaiseAlertResult:
    return RaiseAlertResult(error=error.status(request_id(context)))
