"""Compares what Redis says this worker holds with what it does hold.

The reply to a fetch can be lost on the way. Redis then counts messages as fetched by a worker that
never saw them, and because that worker is alive nobody else gets them.

Publishes the books of the whole mesh, too, which every worker sees alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import redis

from job_store.counts import CountsReader
from job_store.queues import StoredQueue
from mesh.health import Unhealthy
from worker.dramatiq_queue.consumer import QueueConsumer
from worker.metrics import (
    BOOKS,
    BOOKS_DIFFERENCE,
    DEAD_LETTERS,
    QUEUE_DEPTH,
    UNACCOUNTED,
    UNACKED,
)
from worker.waiting import Stop

INTERVAL_SECONDS = 1.0
PATIENCE_SECONDS = 4.0
"""A message may be on its way from Redis this long; a reply takes three seconds at most."""
BOOKS_SECONDS = 30.0


class AuditedBroker(Protocol):
    """The broker of one queue."""

    broker_id: str
    consumer: QueueConsumer | None


class Audited(Protocol):
    """One queue and its threads."""

    queue: str

    @property
    def broker(self) -> AuditedBroker:
        """Return its broker."""

    def is_whole(self) -> bool:
        """Return whether all threads are alive."""


class Audit:
    """Watches the queues of this process and ends it when something is out of step for good."""

    def __init__(self, client: redis.Redis, queues: Sequence[Audited], stop: Stop) -> None:
        self._client = client
        self._queues = queues
        self._stop = stop
        self._counts = CountsReader(client)
        self._books_due = 0.0
        self._missing_since: dict[bytes, float] = {}

    def run(self) -> None:
        """Audit over and over. Raises Interrupted when the process stops."""
        while True:
            self._stop.wait(INTERVAL_SECONDS)
            try:
                self.check()
                self._publish_books()
            except redis.RedisError:
                # The consumers meet the same error and know what to do.
                continue

    def check(self) -> None:
        """Audit once. Raises redis.RedisError."""
        missing: set[bytes] = set()
        for each in self._queues:
            missing |= self._measure(each)
            if not each.is_whole() and not self._stop.asked:
                self._stop.crash("a thread is gone")
        now = time.monotonic()
        self._missing_since = {
            message_id: self._missing_since.get(message_id, now) for message_id in missing
        }
        if any(now - since > PATIENCE_SECONDS for since in self._missing_since.values()):
            self._stop.crash("messages were fetched and never arrived")

    def require_accounted(self) -> None:
        """Raise Unhealthy while messages are missing."""
        if self._missing_since:
            raise Unhealthy(f"{len(self._missing_since)} fetched messages have not arrived")

    def _publish_books(self) -> None:
        """Set the metrics of the books when it is time; they stay while too much is open to sum."""
        now = time.monotonic()
        if now < self._books_due:
            return
        self._books_due = now + BOOKS_SECONDS
        totals = self._counts.totals()
        if totals is None:
            return
        BOOKS.labels("accepted").set(totals.accepted)
        BOOKS.labels("written").set(totals.written)
        BOOKS.labels("failed").set(totals.failed)
        BOOKS.labels("in_flight").set(totals.in_flight)
        BOOKS_DIFFERENCE.set(totals.difference)

    def _measure(self, each: Audited) -> set[bytes]:
        """Set the metrics of one queue and return what is missing."""
        stored = StoredQueue(self._client, each.queue)
        QUEUE_DEPTH.labels(each.queue).set(stored.waiting())
        DEAD_LETTERS.labels(each.queue).set(stored.dead())
        UNACKED.labels(each.queue).set(stored.count_fetched(each.broker.broker_id))
        consumer = each.broker.consumer
        missing = set() if consumer is None else consumer.unaccounted()
        UNACCOUNTED.labels(each.queue).set(len(missing))
        return missing
