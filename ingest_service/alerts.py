"""Alerts: told to the alert service, or queued for it while it is away."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

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
MAX_BATCH_BYTES = 1024 * 1024
"""Of the alerts of one call but the last one, which may be large: together they fit a message."""
LINGER_SECONDS = 0.001
"""How long a call waits for more alerts, for each after the first that the last one had."""
MAX_LINGER_SECONDS = 0.01
_FAILURES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
_SIGNS_OF_AN_OUTAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

MAX_PAYLOAD_BYTES = 1536 * 1024
"""Of a payload that is sent along. A submission that may be taken is smaller; with its lists the
alert stays below 2 MiB, half of what a message may have."""


class _Waiting(NamedTuple):
    """An alert that waits to be raised together with others, since `asked`."""

    make: Callable[[], RaiseAlertRequest]
    identity: asyncio.Future[str]
    asked: float


class Alerts:
    """The alert service as ingest sees it."""

    def __init__(self, channel: grpc.aio.Channel, queue: AlertQueue) -> None:
        self._alert_service = AlertServiceStub(channel)
        self._batch_service = AlertBatchServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._queue = queue
        self._waiting: deque[_Waiting] = deque()
        self._raising: asyncio.Task[None] | None = None
        self._expected = 1
        self._as_many_wait = asyncio.Event()
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
        identity: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(make, identity, time.monotonic()))
        if self._raising is None:
            self._raising = asyncio.create_task(self._raise_all())
        elif len(self._waiting) >= self._expected:
            self._as_many_wait.set()
        return await identity

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

    async def _raise_all(self) -> None:
        """Raise alerts, several in one call and one call at a time, until none waits."""
        while self._waiting:
            asked, batch = self._waiting[0].asked, self._take_batch()
            if not batch:
                continue
            alerts = [alert for alert, _ in batch]
            try:
                failures = await self._raise_together(alerts, asked)
            except Exception as error:
                for _, identity in batch:
                    _fail(identity, error)
                continue
            queued = []
            for (alert, identity), failure in zip(batch, failures, strict=True):
                if failure is not None:
                    queued.append(self._queue_instead(alert, identity, failure))
                elif not identity.done():
                    identity.set_result(alert.alert_id)
            ALERTS.labels("told").inc(len(batch) - len(queued))
            await asyncio.gather(*queued)
            await self._linger(len(batch))
        self._raising = None

    async def _linger(self, expected: int) -> None:
        """Wait a little until as many alerts wait as were raised by the last call.

        Callers that were answered together come back together; see GroupCommit.
        """
        seconds = min(MAX_LINGER_SECONDS, LINGER_SECONDS * (expected - 1))
        if not seconds or len(self._waiting) >= expected:
            return
        self._expected = expected
        self._as_many_wait.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._as_many_wait.wait()

    def _take_batch(self) -> list[tuple[RaiseAlertRequest, asyncio.Future[str]]]:
        """Make the alerts of the next call. One that cannot be made is in no call."""
        batch: list[tuple[RaiseAlertRequest, asyncio.Future[str]]] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            waiting = self._waiting.popleft()
            try:
                alert = deliverable(waiting.make())
            except Exception as error:
                _fail(waiting.identity, error)
                continue
            size += alert.ByteSize()
            batch.append((alert, waiting.identity))
        return batch

    async def _raise_together(
        self, alerts: Sequence[RaiseAlertRequest], asked: float
    ) -> list[grpc.StatusCode | None]:
        """Return for each alert, in order, why it was not raised, None where it was."""
        request = RaiseAlertsRequest(alerts=alerts)
        try:
            answer = await self._call(self._batch_service.RaiseAlerts, request, asked)
        except grpc.aio.AioRpcError as error:
            return [error.code()] * len(alerts)
        if len(answer.results) != len(alerts):
            # Whose result is missing is not known.
            return [grpc.StatusCode.INTERNAL] * len(alerts)
        return [_failure_of(each) for each in answer.results]

    async def _queue_instead(
        self, alert: RaiseAlertRequest, identity: asyncio.Future[str], failure: grpc.StatusCode
    ) -> None:
        try:
            await self._enqueue(alert, failure)
        except Exception as error:
            _fail(identity, error)
        else:
            if not identity.done():
                identity.set_result(alert.alert_id)

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


def _fail(identity: asyncio.Future[str], error: Exception) -> None:
    if not identity.done():
        identity.set_exception(error)


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
