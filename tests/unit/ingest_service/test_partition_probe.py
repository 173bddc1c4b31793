"""Whether the queue takes submissions, as its partitions say."""

from __future__ import annotations

import asyncio

import pytest

from ingest_service import partition_probe
from ingest_service.partition_probe import PartitionProbe
from job_store.errors import QueueUnavailable


class FakeStore:
    """A partition that answers when it is told to."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.error: Exception | None = None
        self.asked = 0

    async def probe(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


class FakePartitions:
    def require_agreement(self) -> None:
        pass


@pytest.fixture(autouse=True)
def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_probe, "ANSWER_SECONDS", 0.05)


async def test_a_partition_that_hangs_is_asked_again_when_it_has_answered() -> None:
    hangs, well = FakeStore(), FakeStore()
    well.answers.set()
    probe = PartitionProbe(FakePartitions(), [hangs, well])  # type: ignore[arg-type, list-item]
    for _ in range(3):
        await probe()
    assert (hangs.asked, well.asked) == (1, 3)
    hangs.answers.set()
    await probe()
    await probe()
    assert (hangs.asked, well.asked) == (2, 5)


async def test_the_queue_is_away_when_every_partition_is() -> None:
    stores = [FakeStore(), FakeStore()]
    probe = PartitionProbe(FakePartitions(), stores)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        await probe()
    for store in stores:
        store.answers.set()
        store.error = QueueUnavailable()
    with pytest.raises(QueueUnavailable):
        await probe()
    stores[1].error = None
    await probe()
