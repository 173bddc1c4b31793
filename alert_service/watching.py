"""Sends every alert, as soon as it is recorded, to all callers of WatchAlerts.

The last alerts are kept once for all, and each watcher reads on from where it is: so it may fall
behind by thousands in a burst, and what is kept stays the same however many watch. Nobody waits for
one that cannot keep up: when what it would read next is kept no more, it is disconnected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc

from alert_service.metrics import WATCHERS
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import Alert

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""Of the last alerts, while anybody watches. Most alerts have some 300 bytes."""


class _Watcher:
    """Where somebody is who watches."""

    def __init__(self, position: int) -> None:
        self.position = position


class Watchers:
    """All watchers, and the alerts that they may still read."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._watchers: set[_Watcher] = set()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._end = 0
        """How many alerts there were: the position behind the last one."""
        self._news = asyncio.Event()
        self._is_closed = False

    def publish(self, alert: Alert) -> None:
        """Send an alert, as it is now, to every watcher."""
        if not self._watchers:
            return
        self._kept.append(alert.SerializeToString())
        self._kept_bytes += len(self._kept[-1])
        self._end += 1
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft())
        self._news.set()

    def close(self) -> None:
        """Disconnect every watcher, after what was published so far."""
        self._is_closed = True
        self._news.set()

    @contextmanager
    def subscribe(self) -> Iterator[AsyncIterator[Alert]]:
        """Watch from now on, until the block ends.

        Raises CallError when too many watch; the iterator raises it when the process ends or its
        reader is too slow.
        """
        if self._is_closed:
            raise _closed()
        if sum([each.position >= self._first for each in self._watchers]) >= self._most:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_WATCHERS",
                "Too many callers watch. Repeat the call after the delay given, or list alerts.",
                retry_after=10.0,
            )
        watcher = _Watcher(self._end)
        self._watchers.add(watcher)
        try:
            with WATCHERS.track_inprogress():
                yield self._alerts(watcher)
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._kept.clear()
                self._kept_bytes = 0

    @property
    def _first(self) -> int:
        """The position of the first alert that is kept."""
        return self._end - len(self._kept)

    async def _alerts(self, watcher: _Watcher) -> AsyncIterator[Alert]:
        while True:
            while watcher.position < self._end:
                if watcher.position < self._first:
                    raise _too_slow()
                alert = Alert.FromString(self._kept[watcher.position - self._first])
                watcher.position += 1
                yield alert
            if self._is_closed:
                raise _closed()
            self._news.clear()
            await self._news.wait()


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
