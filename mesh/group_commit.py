"""Group commit: requests that arrive while a batch is in flight go together in the next one.

One caller alone never waits. With many, the cost of a call is divided among them. Callers who are
answered tend to come back, so the next batch may linger until as many wait as were answered and did
wait already, or until it is full. Otherwise there would be two groups of callers, each of which
waits for the trip of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar


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


class Room:
    """Bytes that may wait, in one group commit or in several that share it.

    None of several may fill more than it leaves free: so one whose calls hang leaves half of the
    room to the others, and two leave a third. `full` is what is raised when there is no more.
    """

    def __init__(self, bytes: int, full: type[Exception]) -> None:
        self.free = bytes
        self.full = full
        self.sharers = 0

    def has_space(self, size: int, filled: int) -> bool:
        """Return whether so many more bytes may wait with somebody who has filled some already."""
        to_leave = filled + size if self.sharers > 1 else 0
        return self.free - size >= to_leave


Request = TypeVar("Request", bound=Weighed)
Answer = TypeVar("Answer")


class GroupCommit(Generic[Request, Answer]):
    """Sends requests in batches, in order, one batch at a time.

    `send` is awaited with the requests of a batch and returns as many answers. What it raises every
    request of the batch gets and, if `fails_all`, every one that waits by then: where they would
    only wait for the same failure, batch after batch and ever longer.

    A batch has up to `max_items` and `max_bytes`, though always at least one request. The next one
    lingers for those who were answered and those who wait, up to `linger_seconds` for each after
    the first. What waits takes of `room`, if there is one; one request may wait in any case.
    Without a room, the bytes of a request are asked for when its turn has come: it may be made only
    then.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
        *,
        max_items: int,
        max_bytes: int,
        fails_all: bool,
        room: Room | None = None,
        linger_seconds: float = 0.0,
    ) -> None:
        self._send = send
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._fails_all = fails_all
        self._room = room
        if room is not None:
            room.sharers += 1
        self._linger_seconds = linger_seconds
        self._waiting: deque[tuple[Request, asyncio.Future[Answer]]] = deque()
        self._waiting_items = 0
        self._waiting_bytes = 0
        """Of what has taken of the room."""
        self._expected = 1
        self._as_many_wait = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def __call__(self, request: Request) -> asyncio.Future[Answer]:
        """Put `request` in the next batch and return the future of its answer.

        Cancelling the future abandons the answer, not the request: a caller that goes away leaves
        no half state. Raises what the room does when too many bytes are waiting.
        """
        if self._room is not None:
            size = request.bytes
            if self._waiting and not self._room.has_space(size, self._waiting_bytes):
                raise self._room.full
            self._room.free -= size
            self._waiting_bytes += size
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._waiting_items += request.items
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_batches())
        elif self._as_many_wait_as(self._expected):
            self._as_many_wait.set()
        return answer

    async def close(self) -> None:
        """Wait until everything is sent and answered."""
        if self._sending is not None:
            self._linger_seconds = 0.0
            self._as_many_wait.set()
            await self._sending

    async def _send_batches(self) -> None:
        try:
            while self._waiting:
                batch = self._take_batch()
                await self._send_batch(batch)
                await self._linger(len(batch) + len(self._waiting))
        finally:
            self._sending = None

    async def _send_batch(self, batch: Sequence[tuple[Request, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._send([request for request, _ in batch])
            # Where one is missing nobody can tell whose it is.
            answered = [*zip(batch, answers, strict=True)]
        except BaseException as error:
            is_cancelled = not isinstance(error, Exception)
            failed = [*batch]
            if self._fails_all or is_cancelled:
                failed += self._waiting
                self._leave(self._waiting)
                self._waiting.clear()
            for _, answer in failed:
                if not answer.done():
                    answer.set_exception(error)
            if is_cancelled:
                raise
        else:
            for (_, answer), value in answered:
                if not answer.done():
                    answer.set_result(value)

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
        while self._waiting and items < self._max_items and size < self._max_bytes:
            request = self._waiting[0][0]
            items += request.items
            size += request.bytes
            if items > self._max_items or size > self._max_bytes:
                break
            batch.append(self._waiting.popleft())
        self._leave(batch)
        return batch

    def _leave(self, requests: Collection[tuple[Request, asyncio.Future[Answer]]]) -> None:
        """Count requests as waiting no more."""
        self._waiting_items -= sum([request.items for request, _ in requests])
        if self._room is not None:
            size = sum([request.bytes for request, _ in requests])
            self._room.free += size
            self._waiting_bytes -= size
