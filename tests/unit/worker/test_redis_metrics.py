from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import pytest
import redis
from prometheus_client import REGISTRY

from job_store.counts import Totals
from job_store.partitions import Partitions
from worker import redis_metrics
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.redis_metrics import RedisMetrics


class Source:
    """A queue in a partition with a message of each kind. It stands for its StoredQueue, too."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.stored = self
        self.worker_id = "w"
        self.is_silent = False
        self.is_away = False
        self.asked = 0

    def waiting(self) -> int:
        self.asked += 1
        if self.is_away:
            raise redis.TimeoutError
        return 1

    def dead(self) -> int:
        return 1

    def count_fetched(self, worker_id: str) -> int:
        return 1

    def totals(self) -> Totals | None:
        if self.is_away:
            raise redis.TimeoutError
        return Totals(accepted=10, written=7, failed=2, in_flight=1)


class Queue:
    def __init__(self, queue: str, sources: list[Source]) -> None:
        self.queue = queue
        self.sources = sources


@pytest.fixture(name="published")
def _published(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[list[Source], Callable[[], list[float]]]:
    monkeypatch.setattr(redis_metrics, "QUEUES_SECONDS", 0)
    monkeypatch.setattr(redis_metrics, "TOTALS_SECONDS", 0)
    sources = [Source(number) for number in range(3)]
    queues = [Queue("interactions", sources), Queue("alerts", sources)]
    metrics = RedisMetrics(Partitions([], redis.Redis()), cast(list[QueueWorker], queues))
    monkeypatch.setattr(metrics, "_counts", sources)

    def publish() -> list[float]:
        metrics.publish()
        queue = {"queue": "alerts"}
        found = [
            REGISTRY.get_sample_value("sluice_dead_letters", queue),
            REGISTRY.get_sample_value("sluice_queue_depth", queue),
            REGISTRY.get_sample_value("sluice_books", {"entry": "accepted"}),
            REGISTRY.get_sample_value("sluice_books_difference"),
            REGISTRY.get_sample_value("sluice_partitions_unavailable"),
        ]
        return cast(list[float], found)

    return sources, publish


def test_sums_are_those_of_the_partitions_that_answer(
    published: tuple[list[Source], Callable[[], list[float]]],
) -> None:
    sources, publish = published
    assert publish() == [3, 3, 30, 0, 0]
    sources[1].is_away = True
    sources[1].asked = 0
    assert publish() == [2, 2, 20, 0, 1]
    # It may hang, so it is asked once in a round, and not at all when the consumer knows.
    assert sources[1].asked == 1
    sources[1].is_silent = True
    assert publish() == [2, 2, 20, 0, 1]
    assert sources[1].asked == 1
    sources[1].is_away = sources[1].is_silent = False
    assert publish() == [3, 3, 30, 0, 0]


def test_what_nobody_tells_is_no_number(
    published: tuple[list[Source], Callable[[], list[float]]],
) -> None:
    sources, publish = published
    for source in sources:
        source.is_away = True
    *sums, unavailable = publish()
    assert all(map(math.isnan, sums))
    assert unavailable == 3
