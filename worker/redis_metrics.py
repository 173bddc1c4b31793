"""Publishes what Redis counts as metrics: this worker's queues, and the jobs of the whole mesh."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import redis

from job_store.counts import CountsReader, Totals
from job_store.metrics import PARTITIONS_UNAVAILABLE
from job_store.partitions import Partitions
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.metrics import DEAD_LETTERS, JOB_COUNTS, JOB_COUNTS_DIFFERENCE, QUEUE_DEPTH, UNACKED

QUEUES_SECONDS = 5.0
"""Between two readings of the queues."""
TOTALS_SECONDS = 30.0
"""Between two readings of the totals, which every worker reads alike."""

Numbers = TypeVar("Numbers")


class RedisMetrics:
    """Sets the gauges that tell what Redis counts."""

    def __init__(self, partitions: Partitions, queues: Sequence[QueueWorker]) -> None:
        self._queues = queues
        self._counts = [CountsReader(each.client, each.keys) for each in partitions.all]
        self._queues_due = 0.0
        self._totals_due = 0.0
        self._unavailable: set[int] = set()

    def publish(self) -> None:
        """Set the gauges of the queues and of the totals, if they are due: sums over the partitions
        that answer, NaN while none does.

        The totals stay as they are while too many jobs are open to sum.
        """
        now = time.monotonic()
        if now < self._queues_due:
            return
        self._queues_due = now + QUEUES_SECONDS
        self._unavailable = {
            source.number for each in self._queues for source in each.sources if source.is_silent
        }
        for queue in self._queues:
            numbers = self._ask(
                [
                    lambda source=source: (  # type: ignore[misc]
                        source.stored.waiting(),
                        source.stored.dead(),
                        source.stored.count_fetched(source.worker_id),
                    )
                    for source in queue.sources
                ]
            )
            for position, gauge in enumerate((QUEUE_DEPTH, DEAD_LETTERS, UNACKED)):
                found = [each[position] for each in numbers]
                gauge.labels(queue.queue).set(sum(found) if found else math.nan)
        if now >= self._totals_due:
            self._totals_due = now + TOTALS_SECONDS
            self._publish_totals(self._ask([each.totals for each in self._counts]))
        PARTITIONS_UNAVAILABLE.set(len(self._unavailable))

    def _ask(self, readers: Sequence[Callable[[], Numbers]]) -> list[Numbers]:
        """Return what partitions answer, the reader of each by its number. One that does not answer
        is not asked again in this round: it may hang, and takes seconds to say nothing."""
        found = []
        for number, read in enumerate(readers):
            if number not in self._unavailable:
                try:
                    found.append(read())
                except redis.RedisError:
                    self._unavailable.add(number)
        return found

    def _publish_totals(self, found: Sequence[Totals | None]) -> None:
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return
        totals = Totals.sum(known)
        for entry, number in (
            ("accepted", totals.accepted),
            ("written", totals.written),
            ("failed", totals.failed),
            ("in_flight", totals.in_flight),
        ):
            JOB_COUNTS.labels(entry).set(number if known else math.nan)
        JOB_COUNTS_DIFFERENCE.set(totals.difference if known else math.nan)
