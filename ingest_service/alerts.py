"""Alerts: told to the alert service, or queued for it while it is away."""

from __future__ import annotations

import asyncio

import grpc
from google.protobuf.message import DecodeError, EncodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ingest_service.jobs import Jobs
from ingest_service.metrics import ALERTS
from mesh.fingerprint import Fingerprint
from mesh.health import Unhealthy
from mesh.logs import logger
from mesh.messages import cut_lists
from sluice.alert.v1.alert_service_pb2 import Alert, GetAlertRequest, RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.job.v1.job_pb2 import DeliverAlert

log = logger("ingest.alerts")

CALL_SECONDS = 1.0
READ_SECONDS = 5.0
"""A repeated batch reads the alerts of all its refusals at once, and waits for nothing else."""

MAX_LIST_BYTES = 256 * 1024
"""Of findings and violations of an alert: as much as the alert service lists."""
MAX_PAYLOAD_BYTES = 1536 * 1024
"""Of a payload that is sent along. A submission that may be taken is smaller; with its lists the
alert stays below 2 MiB, half of what a message may have."""


class Alerts:
    """The alert service as ingest sees it."""

    def __init__(self, channel: grpc.aio.Channel, jobs: Jobs) -> None:
        self._alert_service = AlertServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._jobs = jobs

    async def raise_alert(self, alert: RaiseAlertRequest) -> str:
        """Return the alert's id once it is durable: as a report, or as a job that will become one.

        What cannot be delivered is left out. Of what the gateway refused the id is that of the
        alert in which it is counted. Idempotent by `alert_id`, which must be set. Raises
        jobs.QueueUnavailable or jobs.QueueFull when neither could be done.
        """
        alert = deliverable(alert)
        try:
            raised = await self._alert_service.RaiseAlert(alert, timeout=CALL_SECONDS)
            ALERTS.labels("told").inc()
            return raised.alert_id
        except grpc.aio.AioRpcError as error:
            log.warning("alert queued", alert_id=alert.alert_id, error=error.code().name)
            await asyncio.to_thread(self._jobs.enqueue_alert, alert)
            ALERTS.labels("queued").inc()
            return _counted_in(alert) if alert.at_edge else alert.alert_id

    async def read_alert(self, alert_id: str) -> Alert:
        """Return an alert, empty when it is not kept, not delivered yet or cannot be read now."""
        try:
            request = GetAlertRequest(alert_id=alert_id)
            return (await self._alert_service.GetAlert(request, timeout=READ_SECONDS)).alert
        except grpc.aio.AioRpcError:
            return Alert()

    async def probe(self) -> None:
        """Check that the alert service serves. Raises grpc.aio.AioRpcError or Unhealthy."""
        answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unhealthy("the alert service does not serve")


def _counted_in(alert: RaiseAlertRequest) -> str:
    """Return the id of the alert in which the alert service will count this one."""
    address, seconds = alert.client, alert.raise_time.seconds
    return Fingerprint.of(alert.violations[0].rule, address, seconds).identity


def deliverable(alert: RaiseAlertRequest) -> RaiseAlertRequest:
    """Return the alert, or one that says it was cut when this one could never be delivered.

    Its lists keep what fits. Its payload stays whole, or goes when it is too large or lies so deep
    that nobody could read the message.
    """
    cut = RaiseAlertRequest()
    cut.CopyFrom(alert)
    lists = {"findings": "finding_count", "violations": "violation_count"}
    if cut_lists(cut, lists, MAX_LIST_BYTES):
        cut.cut = True
    try:
        # In the queue it lies one level deeper than in a call.
        DeliverAlert.FromString(DeliverAlert(alert=cut).SerializeToString())
        fits = cut.payload.ByteSize() <= MAX_PAYLOAD_BYTES
    except (EncodeError, DecodeError):
        fits = False
    if not fits:
        cut.ClearField("payload")
        cut.cut = True
    return cut
