"""Group commit: what arrives while one round trip is in flight shares the next one.

With one caller this adds nothing to wait for; with many, the cost of the round trip is divided
among them. A trip that carried several is followed by the next as soon as as many wait again:
callers who were answered together tend to come back together, and whoever finds the next trip gone
pays for one of his own. The calls run on one thread of their own, since the Redis client blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Weighed(Protocol):
    """Something whose share of a round trip is known."""

    @property
    def items(self) -> int:
        """How many items it counts for."""

    @property
    def bytes(self) -> int:
        """How many bytes it counts for."""


MOST_PATIENCE_SECONDS = 0.01
"""Nobody waits longer than this for company."""

Request = TypeVar("Request", bound=Weighed)
Answer = TypeVar("Answer")


class Overfull(Exception):
    """More bytes are waiting than may."""


class SharedTrips(Generic[Request, Answer]):
    """Carries requests in shared round trips, in order, one trip at a time.

    `carry` takes the requests of one trip and returns as many answers; it blocks. What it raises
    every request of the trip gets, and every one that waits by then: trip after trip, they would
    wait for the same failure ever longer. A trip takes up to `max_items` and `max_bytes`, though
    always at least one request. Behind a trip of several, the next one waits for as many, up to
    `patience_seconds` for each further one. `name` names the thread.
    """

    def __init__(
        self,
        name: str,
        carry: Callable[[Sequence[Request]], Sequence[Answer]],
        *,
        max_items: int,
        max_bytes: int,
        max_waiting_bytes: int,
        patience_seconds: float,
    ) -> None:
        self._carry = carry
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_waiting_bytes = max_waiting_bytes
        self._patience_seconds = patience_seconds
        self._waiting: deque[tuple[Request, asyncio.Future[Answer]]] = deque()
        self._waiting_bytes = 0
        self._expected = 1
        self._gathered = asyncio.Event()
        self._trips: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __call__(self, request: Request) -> asyncio.Future[Answer]:
        """Put `request` on the next trip and return its answer-to-be.

        Cancelling the future abandons the answer, not the trip: a caller that goes away leaves no
        half state. Raises Overfull when too many bytes are waiting.
        """
        if self._waiting and self._waiting_bytes + request.bytes > self._max_waiting_bytes:
            raise Overfull
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._waiting_bytes += request.bytes
        if self._trips is None:
            self._trips = asyncio.create_task(self._run_trips())
        elif len(self._waiting) >= self._expected:
            self._gathered.set()
        return answer

    async def close(self) -> None:
        """Wait until every trip has ended, then end the thread."""
        if self._trips is not None:
            self._patience_seconds = 0.0
            self._gathered.set()
            await self._trips
        self._thread.shutdown()

    async def _run_trips(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            aboard = self._board()
            requests = [request for request, _ in aboard]
            try:
                answers = await loop.run_in_executor(self._thread, self._carry, requests)
            except Exception as error:
                for _, answer in (*aboard, *self._waiting):
                    if not answer.done():
                        answer.set_exception(error)
                self._waiting.clear()
                self._waiting_bytes = 0
            else:
                for (_, answer), value in zip(aboard, answers, strict=True):
                    if not answer.done():
                        answer.set_result(value)
            await self._gather(len(aboard))
        self._trips = None

    async def _gather(self, expected: int) -> None:
        """Wait for as many as the last trip carried; one caller alone never waits."""
        patience = min(MOST_PATIENCE_SECONDS, self._patience_seconds * (expected - 1))
        if not patience or len(self._waiting) >= expected:
            return
        self._expected = expected
        self._gathered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._gathered.wait()

    def _board(self) -> list[tuple[Request, asyncio.Future[Answer]]]:
        aboard = [self._waiting.popleft()]
        items, size = aboard[0][0].items, aboard[0][0].bytes
        while self._waiting:
            request = self._waiting[0][0]
            items += request.items
            size += request.bytes
            if items > self._max_items or size > self._max_bytes:
                break
            aboard.append(self._waiting.popleft())
        self._waiting_bytes -= sum(request.bytes for request, _ in aboard)
        return aboard
