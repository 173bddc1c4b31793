"""Ends the process when its threads, or what it holds and what Redis says it holds, part for good.

The reply to a fetch can be lost on the way. Redis then counts messages as fetched by a worker that
never saw them, and because that worker is alive nobody else gets them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mesh.health import Unhealthy
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.metrics import UNACCOUNTED
from worker.waiting import Stop

ARRIVAL_SECONDS = 4.0
"""How long a message may be on its way from Redis; a reply takes three seconds at most."""


class Watchdog:
    """Watches the queues of this process."""

    def __init__(self, queues: Sequence[QueueWorker], stop: Stop) -> None:
        self._queues = queues
        self._stop = stop
        self._missing_since: dict[bytes, float] = {}

    def check(self) -> None:
        """Look once, and end the process if need be."""
        missing: set[bytes] = set()
        for queue in self._queues:
            unaccounted = queue.unaccounted()
            UNACCOUNTED.labels(queue.queue).set(len(unaccounted))
            missing |= unaccounted
            if not queue.is_alive() and not self._stop.asked:
                self._stop.crash("a thread is gone")
        now = time.monotonic()
        self._missing_since = {
            message_id: self._missing_since.get(message_id, now) for message_id in missing
        }
        if any(now - since > ARRIVAL_SECONDS for since in self._missing_since.values()):
            self._stop.crash("messages were fetched and never arrived")

    def require_accounted(self) -> None:
        """Raise Unhealthy while messages are missing."""
        if self._missing_since:
            raise Unhealthy(f"{len(self._missing_since)} fetched messages have not arrived")
