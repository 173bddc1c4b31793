"""Alerts: told to the alert service, or queued for it while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, EncodeError, Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ingest_service.metrics import ALERTS
from job_store.alert_queue import AlertQueue
from job_store.errors import QueueUnavailable
from mesh.fingerprint import Fingerprint
from mesh.health import Unhealthy
from mesh.logs import logger
from mesh.messages import cut_lists
from sluice.alert.v1.alert_service_pb2 import Alert, GetAlertRequest, RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.job.v1.job_pb2 import DeliverAlert

log = logger("ingest.alerts")

Answer = TypeVar("Answer")

CALL_SECONDS = 1.0
MAX_CALLS = 100
"""In flight. A batch has up to 5,000 alerts: sent all at once, most calls would be too late."""
_SIGNS_OF_AN_OUTAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

MAX_PAYLOAD_BYTES = 1536 * 1024
"""Of a payload that is sent along. A submission that may be taken is smaller; with its lists the
alert stays below 2 MiB, half of what a message may have."""


class Alerts:
    """The alert service as ingest sees it."""

    def __init__(self, channel: grpc.aio.Channel, queue: AlertQueue) -> None:
        self._alert_service = AlertServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._queue = queue
        self._turns = asyncio.Semaphore(MAX_CALLS)
        self._failed = 0.0
        """When a call failed because the service is away."""

    async def raise_alert(self, make: Callable[[], RaiseAlertRequest]) -> str:
        """Return the alert's id once it is durable: as a report, or as a job that will become one.

        `make` returns the alert, which is made when its turn has come: a batch has thousands, too
        large to be held all at once. What cannot be delivered is left out. Of what the gateway
        refused the id is that of the alert in which it is counted. Idempotent by `alert_id`, which
        must be set. Raises QueueUnavailable or QueueFull when neither could be done.
        """
        asked = time.monotonic()
        async with self._turns:
            alert = deliverable(make())
            try:
                raised = await self._call(self._alert_service.RaiseAlert, alert, asked)
                ALERTS.labels("told").inc()
                return raised.alert_id
            except grpc.aio.AioRpcError as error:
                log.warning("alert queued", alert_id=alert.alert_id, error=error.code().name)
                await asyncio.to_thread(self._queue.enqueue, alert)
                ALERTS.labels("queued").inc()
                return _counted_in(alert) if alert.at_edge else alert.alert_id

    async def read_alert(self, alert_id: str) -> Alert:
        """Return an alert; of one that still waits to be delivered, what was found and broken.

        It is empty when it is not kept or cannot be read now.
        """
        with suppress(grpc.aio.AioRpcError):
            asked = time.monotonic()
            async with self._turns:
                request = GetAlertRequest(alert_id=alert_id)
                return (await self._call(self._alert_service.GetAlert, request, asked)).alert
        with suppress(QueueUnavailable):
            queued = await asyncio.to_thread(self._queue.read, alert_id)
            if queued is not None:
                return Alert(
                    findings=queued.findings,
                    violations=queued.violations,
                    detectors=queued.detectors,
                )
        return Alert()

    async def _call(
        self, call: Callable[..., Awaitable[Answer]], request: Message, asked: float
    ) -> Answer:
        """Make a call whose turn has come, and which waited for it since `asked`.

        What waited while the service did not answer does not wait for that again. Raises
        grpc.aio.AioRpcError.
        """
        if asked < self._failed:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing)
        try:
            return await call(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in _SIGNS_OF_AN_OUTAGE:
                self._failed = time.monotonic()
            raise

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
    if cut_lists(cut):
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
