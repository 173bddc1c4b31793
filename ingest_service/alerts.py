"""Alerts: told to the alert service, or queued for it while it is away."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ingest_service.jobs import Jobs
from ingest_service.metrics import ALERTS
from mesh.health import Unhealthy
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub

log = logger("ingest.alerts")

CALL_SECONDS = 1.0


class Alerts:
    """The alert service as ingest sees it."""

    def __init__(self, channel: grpc.aio.Channel, jobs: Jobs) -> None:
        self._alert_service = AlertServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._jobs = jobs

    async def raise_alert(self, alert: RaiseAlertRequest) -> str:
        """Return the alert's id once it is durable: as a report, or as a job that will become one.

        It is another one than was asked for when the alert is counted with others. Idempotent by
        `alert_id`, which must be set. Raises jobs.QueueUnavailable or jobs.QueueFull when neither
        could be done.
        """
        try:
            raised = await self._alert_service.RaiseAlert(alert, timeout=CALL_SECONDS)
            ALERTS.labels("told").inc()
            return raised.alert_id
        except grpc.aio.AioRpcError as error:
            log.warning("alert queued", alert_id=alert.alert_id, error=error.code().name)
            await asyncio.to_thread(self._jobs.enqueue_alert, alert)
            ALERTS.labels("queued").inc()
            return alert.alert_id

    async def probe(self) -> None:
        """Check that the alert service serves. Raises grpc.aio.AioRpcError or Unhealthy."""
        answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unhealthy("the alert service does not serve")
