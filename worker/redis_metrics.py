"""Publishes what Redis counts as metrics: this worker's queues, and the jobs of the whole mesh."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from job_store.counts import CountsReader
from job_store.queues import StoredQueue
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.metrics import DEAD_LETTERS, JOB_COUNTS, JOB_COUNTS_DIFFERENCE, QUEUE_DEPTH, UNACKED

QUEUES_SECONDS = 5.0
"""Between two readings of the queues."""
TOTALS_SECONDS = 30.0
"""Between two readings of the totals, which every worker reads alike."""


class RedisMetrics:
    """Sets the gauges that tell what Redis counts."""

    def __init__(self, client: redis.Redis, queues: Sequence[QueueWorker]) -> None:
        self._queues = [(each, StoredQueue(client, each.queue)) for each in queues]
        self._counts = CountsReader(client)
        self._queues_due = 0.0
        self._totals_due = 0.0

    def publish(self) -> None:
        """Set the gauges of the queues and of the totals, if they are due.

        The latter stay as they are while too many jobs are open to sum. Raises redis.RedisError.
        """
        now = time.monotonic()
        if now < self._queues_due:
            return
        self._queues_due = now + QUEUES_SECONDS
        for each, stored in self._queues:
            QUEUE_DEPTH.labels(each.queue).set(stored.waiting())
            DEAD_LETTERS.labels(each.queue).set(stored.dead())
            UNACKED.labels(each.queue).set(stored.count_fetched(each.broker.broker_id))
        if now < self._totals_due:
            return
        self._totals_due = now + TOTALS_SECONDS
        totals = self._counts.totals()
        if totals is None:
            return
        JOB_COUNTS.labels("accepted").set(totals.accepted)
        JOB_COUNTS.labels("written").set(totals.written)
        JOB_COUNTS.labels("failed").set(totals.failed)
        JOB_COUNTS.labels("in_flight").set(totals.in_flight)
        JOB_COUNTS_DIFFERENCE.set(totals.difference)
