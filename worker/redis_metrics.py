"""Publishes what Redis counts as metrics: this worker's queues, and the jobs of the whole mesh."""

from __future__ import annotations

import time
from collections.abc import Sequence

from job_store.counts import CountsReader, Totals
from job_store.partitions import Partitions
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.metrics import DEAD_LETTERS, JOB_COUNTS, JOB_COUNTS_DIFFERENCE, QUEUE_DEPTH, UNACKED

QUEUES_SECONDS = 5.0
"""Between two readings of the queues."""
TOTALS_SECONDS = 30.0
"""Between two readings of the totals, which every worker reads alike."""


class RedisMetrics:
    """Sets the gauges that tell what Redis counts."""

    def __init__(self, partitions: Partitions, queues: Sequence[QueueWorker]) -> None:
        self._queues = queues
        self._counts = [CountsReader(each.client, each.keys) for each in partitions.all]
        self._queues_due = 0.0
        self._totals_due = 0.0

    def publish(self) -> None:
        """Set the gauges of the queues and of the totals, if they are due: sums of all partitions.

        The latter stay as they are while too many jobs are open to sum. Raises redis.RedisError.
        """
        now = time.monotonic()
        if now < self._queues_due:
            return
        self._queues_due = now + QUEUES_SECONDS
        for each in self._queues:
            stored = [source.stored for source in each.sources]
            QUEUE_DEPTH.labels(each.queue).set(sum(queue.waiting() for queue in stored))
            DEAD_LETTERS.labels(each.queue).set(sum(queue.dead() for queue in stored))
            fetched = sum(source.stored.count_fetched(source.worker_id) for source in each.sources)
            UNACKED.labels(each.queue).set(fetched)
        if now < self._totals_due:
            return
        self._totals_due = now + TOTALS_SECONDS
        found = [each.totals() for each in self._counts]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return
        totals = Totals.sum(known)
        JOB_COUNTS.labels("accepted").set(totals.accepted)
        JOB_COUNTS.labels("written").set(totals.written)
        JOB_COUNTS.labels("failed").set(totals.failed)
        JOB_COUNTS.labels("in_flight").set(totals.in_flight)
        JOB_COUNTS_DIFFERENCE.set(totals.difference)
