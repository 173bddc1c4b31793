"""Group commit: requests that arrive while a batch is in flight go together in the next one.

One caller alone never waits. With many, the cost of a round trip is divided among them. Callers who
are answered tend to come back, so the next batch lingers until as many wait as were answered and
did wait already, or until it is full. Otherwise there would be two groups of callers, each of which
waits for the trip of the other. The calls run on a thread of their own, since the Redis client
blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from job_store.errors import QueueFull


class Weighed(Protocol):
    """Something whose share of a batch is known."""

    @property
    def items(self) -> int:
        """How many items it counts for."""

    @property
    def bytes(self) -> int:
        """How many bytes it counts for."""


MAX_LINGER_SECONDS = 0.01
"""A batch lingers no longer than this, however many requests the last one had."""


@dataclass(slots=True)
class Room:
    """Bytes that may still wait, in one group commit or in several that share it."""

    bytes: int


Request = TypeVar("Request", bound=Weighed)
Answer = TypeVar("Answer")


class GroupCommit(Generic[Request, Answer]):
    """Sends requests in batches, in order, one batch at a time.

    `send` takes the requests of a batch and returns as many answers; it blocks. What it raises
    every request of the batch gets, and every one that waits by then: batch after batch, they would
    wait for the same failure ever longer. A batch has up to `max_items` and `max_bytes`, though
    always at least one request. The next one lingers for those who were answered and those who
    wait, up to `linger_seconds` for each after the first. What waits takes of `room`; one request
    may wait in any case. `name` names the thread.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[Request]], Sequence[Answer]],
        *,
        max_items: int,
        max_bytes: int,
        room: Room,
        linger_seconds: float,
    ) -> None:
        self._send = send
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._room = room
        self._linger_seconds = linger_seconds
        self._waiting: deque[tuple[Request, asyncio.Future[Answer]]] = deque()
        self._waiting_bytes = 0
        self._waiting_items = 0
        self._expected = 1
        self._as_many_wait = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __call__(self, request: Request) -> asyncio.Future[Answer]:
        """Put `request` in the next batch and return the future of its answer.

        Cancelling the future abandons the answer, not the request: a caller that goes away leaves
        no half state. Raises QueueFull when too many bytes are waiting.
        """
        if self._waiting and request.bytes > self._room.bytes:
            raise QueueFull
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._room.bytes -= request.bytes
        self._waiting_bytes += request.bytes
        self._waiting_items += request.items
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_batches())
        elif self._as_many_wait_as(self._expected):
            self._as_many_wait.set()
        return answer

    async def close(self) -> None:
        """Wait until everything is sent and answered, then end the thread."""
        if self._sending is not None:
            self._linger_seconds = 0.0
            self._as_many_wait.set()
            await self._sending
        self._thread.shutdown()

    async def _send_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take_batch()
            requests = [request for request, _ in batch]
            try:
                answers = await loop.run_in_executor(self._thread, self._send, requests)
            except Exception as error:
                for _, answer in (*batch, *self._waiting):
                    if not answer.done():
                        answer.set_exception(error)
                self._waiting.clear()
                self._room.bytes += self._waiting_bytes
                self._waiting_bytes = self._waiting_items = 0
            else:
                for (_, answer), value in zip(batch, answers, strict=True):
                    if not answer.done():
                        answer.set_result(value)
            await self._linger(len(batch) + len(self._waiting))
        self._sending = None

    async def _linger(self, expected: int) -> None:
        """Wait until as many requests wait as are expected, or fill a batch."""
        seconds = min(MAX_LINGER_SECONDS, self._linger_seconds * (expected - 1))
        if not seconds or self._as_many_wait_as(expected):
            return
        self._expected = expected
        self._as_many_wait.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._as_many_wait.wait()

    def _as_many_wait_as(self, expected: int) -> bool:
        return (
            len(self._waiting) >= expected
            or self._waiting_items >= self._max_items
            or self._waiting_bytes >= self._max_bytes
        )

    def _take_batch(self) -> list[tuple[Request, asyncio.Future[Answer]]]:
        batch = [self._waiting.popleft()]
        items, size = batch[0][0].items, batch[0][0].bytes
        while self._waiting:
            request = self._waiting[0][0]
            items += request.items
            size += request.bytes
            if items > self._max_items or size > self._max_bytes:
                break
            batch.append(self._waiting.popleft())
        taken = sum([request.bytes for request, _ in batch])
        self._waiting_bytes -= taken
        self._room.bytes += taken
        self._waiting_items -= sum([request.items for request, _ in batch])
        return batch
