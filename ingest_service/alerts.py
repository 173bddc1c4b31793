"""Alerts: told to the alert service, or queued for it while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, EncodeError, Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ingest_service.metrics import ALERTS
from job_store.alert_queue import AlertQueue
from job_store.errors import QueueUnavailable
from mesh.fingerprint import Fingerprint
from mesh.group_commit import GroupCommit
from mesh.health import Unhealthy
from mesh.logs import logger
from mesh.messages import cut_lists
from sluice.alert.v1.alert_batch_service_pb2 import RaiseAlertResult, RaiseAlertsRequest
from sluice.alert.v1.alert_batch_service_pb2_grpc import AlertBatchServiceStub
from sluice.alert.v1.alert_service_pb2 import Alert, GetAlertRequest, RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.job.v1.job_pb2 import DeliverAlert

log = logger("ingest.alerts")

Answer = TypeVar("Answer")

CALL_SECONDS = 1.0
MAX_CALLS = 100
"""In flight, of those about one alert: sent all at once, most of thousands would be too late."""
MAX_BATCH = 100
"""Alerts that are raised by one call. A batch of submissions has up to 5,000: in one call, most of
them would be too late."""
MAX_BATCH_BYTES = 2 * 1024 * 1024
"""Of the alerts of one call, or of one that is larger: they fit a message."""
LINGER_SECONDS = 0.001
MAX_QUEUEING = 16
"""Alerts that are being queued at the same time, each of less than 2 MiB. Further ones wait unmade,
and no other alert waits for them."""
_FAILURES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
_SIGNS_OF_AN_OUTAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

MAX_PAYLOAD_BYTES = 1536 * 1024
"""Of a payload that is sent along. A submission that may be taken is smaller; with its lists the
alert stays below 2 MiB, half of what a message may have."""


class _Raising:
    """An alert that waits since `asked` to be raised with others."""

    items = 1

    def __init__(self, make: Callable[[], RaiseAlertRequest]) -> None:
        self._make = make
        self.asked = time.monotonic()

    @cached_property
    def alert(self) -> RaiseAlertRequest | None:
        """The alert, made when its turn has come; None when it cannot be made."""
        with suppress(Exception):
            return deliverable(self._make())
        return None

    @property
    def bytes(self) -> int:
        """The size of the alert."""
        return 0 if self.alert is None else self.alert.ByteSize()


class Alerts:
    """The alert service as ingest sees it."""

    def __init__(self, channel: grpc.aio.Channel, queue: AlertQueue) -> None:
        self._alert_service = AlertServiceStub(channel)
        self._batch_service = AlertBatchServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._queue = queue
        self._raising: GroupCommit[_Raising, str | grpc.StatusCode] = GroupCommit(
            self._raise_together,
            max_items=MAX_BATCH,
            max_bytes=MAX_BATCH_BYTES,
            fails_all=False,
            linger_seconds=LINGER_SECONDS,
        )
        self._queueing = asyncio.Semaphore(MAX_QUEUEING)
        self._turns = asyncio.Semaphore(MAX_CALLS)
        self._failed = 0.0
        """When a call failed because the service is away."""

    async def raise_alert(self, make: Callable[[], RaiseAlertRequest]) -> str:
        """Return the alert's id once it is durable: as a report, or as a job that will become one.

        `make` returns the alert, which is made when its turn has come: a batch has thousands, too
        large to be held all at once. Alerts that come while a call is in flight share the next.
        What cannot be delivered is left out. Idempotent by `alert_id`, which must be set. Raises
        QueueUnavailable or QueueFull when neither could be done.
        """
        raised = await self._raising(_Raising(make))
        if isinstance(raised, str):
            return raised
        async with self._queueing:
            # Made again, since it was not kept while it waited for this turn.
            alert = deliverable(make())
            await self._enqueue(alert, raised)
            return alert.alert_id

    async def count_alert(self, alert: RaiseAlertRequest) -> str:
        """Return the id of the alert in which one about a refusal of the gateway is counted.

        Told by a call of its own, so that no other alert waits for it. In all else as above.
        """
        asked = time.monotonic()
        async with self._turns:
            alert = deliverable(alert)
            try:
                raised = await self._call(self._alert_service.RaiseAlert, alert, asked)
            except grpc.aio.AioRpcError as error:
                await self._enqueue(alert, error.code())
                return _counted_in(alert)
            ALERTS.labels("told").inc()
            return raised.alert_id

    async def _raise_together(self, batch: Sequence[_Raising]) -> list[str | grpc.StatusCode]:
        """Return the id of each alert, in order, or why it was not raised."""
        alerts = [each.alert for each in batch if each.alert is not None]
        request = RaiseAlertsRequest(alerts=alerts)
        failures: list[grpc.StatusCode | None]
        try:
            answer = await self._call(self._batch_service.RaiseAlerts, request, batch[0].asked)
            failures = [_failure_of(each) for each in answer.results]
        except grpc.aio.AioRpcError as error:
            failures = [error.code()] * len(alerts)
        if len(failures) != len(alerts):
            # Whose result is missing is not known.
            failures = [grpc.StatusCode.INTERNAL] * len(alerts)
        ALERTS.labels("told").inc(failures.count(None))
        left = iter(failures)
        return [
            grpc.StatusCode.INTERNAL if each.alert is None else next(left) or each.alert.alert_id
            for each in batch
        ]

    async def _enqueue(self, alert: RaiseAlertRequest, failure: grpc.StatusCode) -> None:
        """Queue an alert that was not raised. Raises QueueUnavailable or QueueFull."""
        log.warning("alert queued", alert_id=alert.alert_id, error=failure.name)
        await asyncio.to_thread(self._queue.enqueue, alert)
        ALERTS.labels("queued").inc()

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
            # There may be thousands, and everything else wants its turn.
            await asyncio.sleep(0)
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


def _failure_of(result: RaiseAlertResult) -> grpc.StatusCode | None:
    """Return why an alert was not raised, None where it has a receipt: nothing else confirms it."""
    if result.HasField("receipt"):
        return None
    return _FAILURES.get(result.error.code, grpc.StatusCode.UNKNOWN)


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
