"""Sends every alert, as soon as it is recorded, to all callers of WatchAlerts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import grpc

from alert_service.metrics import WATCHERS
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import Alert

MAX_UNSENT = 256
"""Alerts that may wait for one watcher."""


class Watchers:
    """All watchers. One that cannot keep up is disconnected: nobody waits for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: set[asyncio.Queue[Alert | None]] = set()
        self._is_closed = False

    def publish(self, alert: Alert) -> None:
        """Send an alert to every watcher."""
        for queue in list(self._queues):
            try:
                queue.put_nowait(alert)
            except asyncio.QueueFull:
                self._queues.discard(queue)

    def close(self) -> None:
        """Disconnect every watcher, after what was published so far."""
        self._is_closed = True
        for queue in self._queues:
            with suppress(asyncio.QueueFull):
                queue.put_nowait(None)

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[Alert]]:
        """Watch from now on, until the block ends.

        Raises CallError when too many watch; the iterator raises it when the process ends or its
        reader is too slow.
        """
        if self._is_closed:
            raise _closed()
        if len(self._queues) >= self._most:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_WATCHERS",
                "Too many callers watch. Repeat the call after the delay given, or list alerts.",
                retry_after=10.0,
            )
        queue: asyncio.Queue[Alert | None] = asyncio.Queue(MAX_UNSENT)
        self._queues.add(queue)
        try:
            with WATCHERS.track_inprogress():
                yield self._alerts(queue)
        finally:
            self._queues.discard(queue)

    async def _alerts(self, queue: asyncio.Queue[Alert | None]) -> AsyncIterator[Alert]:
        while True:
            alert = await queue.get()
            if alert is None:
                raise _closed()
            yield alert
            if queue.empty() and queue not in self._queues:
                raise _too_slow()


def _closed() -> CallError:
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "STOPPING",
        "This process stops. Watch again, and list alerts to see what was raised in between.",
        retry_after=1.0,
    )


def _too_slow() -> CallError:
    return CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "WATCHER_TOO_SLOW",
        "Alerts come faster than they are read. List alerts to see what was missed, then watch "
        "again.",
        retry_after=1.0,
    )
