"""Divides what is recorded among the partitions of the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ingest_service.recorder import Recorder, Unstored
from job_store.partitions import Partitions
from job_store.request_ids import Request
from job_store.store import Entry, JobStore, Receipt
from sluice.job.v1.job_pb2 import RequestRecord

Item = TypeVar("Item")
Answer = TypeVar("Answer")

TURN_SECONDS = 0.1
"""For which one partition gets what has no request id. What comes together then shares its jobs;
over a second the partitions get equal parts."""


class PartitionedRecorder:
    """Makes interactions durable, each in the partition that it belongs to.

    A request id belongs to one partition, where repeats of it are looked for. What has none goes to
    any that takes it, each having its turn. `stores` and `recorders` are one for each partition.
    """

    def __init__(
        self,
        partitions: Partitions,
        stores: Sequence[JobStore],
        recorders: Sequence[Recorder],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partitions = partitions
        self._stores = stores
        self._recorders = recorders
        self._clock = clock
        self._turn = 0
        self._turn_ends = 0.0

    def secret_of(self, request: Request) -> bytes:
        """Return what the alerts about this request are named by: see Request.alert_id."""
        return self._stores[self._number_of(request)].secret

    async def record(self, entries: Sequence[Entry]) -> list[Receipt | Unstored]:
        """Make the entries durable; return for each, in order, its receipt or why it has none.

        Whoever is cancelled while waiting loses the receipts, not the interactions.
        """
        if len(self._recorders) == 1:
            return await self._recorders[0].record(entries)
        turn = self._whose_turn()
        numbers = [
            turn if entry.request is None else self._number_of(entry.request) for entry in entries
        ]
        return await _divided(entries, numbers, lambda number: self._recorders[number].record)

    async def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | Unstored | None]:
        """Return what each request id stands for already, None where it is new, or why that is not
        known."""
        numbers = list(map(self._number_of, requests))
        return await _divided(requests, numbers, lambda number: self._recorders[number].look_up)

    async def close(self) -> None:
        """Wait until everything that was taken in is durable or has failed."""
        await asyncio.gather(*[recorder.close() for recorder in self._recorders])

    def _number_of(self, request: Request) -> int:
        return self._partitions.of_name(request.bucket.encode()).number

    def _whose_turn(self) -> int:
        """Return the partition for what has no request id.

        It keeps its turn while that lasts and it takes what it gets. When none does it stays as it
        is: somebody has to answer why.
        """
        now = self._clock()
        if now > self._turn_ends or not self._stores[self._turn].is_available:
            count = len(self._stores)
            following = [(self._turn + step) % count for step in range(1, count + 1)]
            self._turn = next(
                (number for number in following if self._stores[number].is_available), self._turn
            )
            self._turn_ends = now + TURN_SECONDS
        return self._turn


async def _divided(
    items: Sequence[Item],
    numbers: Sequence[int],
    call_for: Callable[[int], Callable[[Sequence[Item]], Awaitable[list[Answer]]]],
) -> list[Answer]:
    """Return the answer to each item, in order, from the partition with its number."""
    places: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        places.setdefault(number, []).append(index)
    if len(places) == 1:
        (number,) = places
        return await call_for(number)(items)
    found = await asyncio.gather(
        *[
            call_for(number)([items[index] for index in indexes])
            for number, indexes in places.items()
        ]
    )
    answers: dict[int, Answer] = {}
    for indexes, answer in zip(places.values(), found, strict=True):
        answers |= zip(indexes, answer, strict=True)
    return [answers[index] for index in range(len(items))]
