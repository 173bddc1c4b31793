"""The client for programs on asyncio."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, Unpack

from google.protobuf.struct_pb2 import Value

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice_client.core import CALL_SECONDS, CLOSE_SECONDS, Core, Options, dropped
from sluice_client.errors import QueueFull, SluiceError
from sluice_client.outcomes import Receipt
from sluice_client.pieces import Counts, Outcome
from sluice_client.values import encode


class AsyncClient:
    """Submits events to the Sluice at `target` (`host:port`), and asks what became of them.

    It is `Client` for asyncio: the same options, errors and promises; what waits there is awaited
    here. What has been submitted is sent by threads, whatever the event loop does meanwhile.
    """

    def __init__(self, target: str, **options: Unpack[Options]) -> None:
        self._core = Core(target, options, _resolve, _new_future)

    async def submit(
        self,
        data: object,
        *,
        source: str | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
    ) -> asyncio.Future[Receipt]:
        """Submit an event, as soon as there is room; return a future of its receipt.

        See `Client.submit`.
        """
        core = self._core
        future: asyncio.Future[Receipt] = _new_future()
        submission = core.submission(data, source, request_id, deadline, future)
        while True:
            try:
                if not core.put(submission, data, core.when_full, may_block=False):
                    future.set_exception(dropped())
                return future
            except QueueFull:
                left = submission.deadline - time.monotonic()
                if core.when_full != "block" or left <= 0:
                    raise
            room = asyncio.Event()
            call = partial(_call_soon, future.get_loop(), room.set)
            core.queue.want_room(len(submission.body), call)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await room.wait()

    async def submit_now(
        self,
        data: object,
        *,
        source: str | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
    ) -> Receipt:
        """Submit an event and wait for its receipt. Raises what `submit` and its future raise."""
        return await (
            await self.submit(data, source=source, request_id=request_id, deadline=deadline)
        )

    async def submit_many(
        self, events: Iterable[object], *, source: str | None = None, deadline: float | None = None
    ) -> list[asyncio.Future[Receipt]]:
        """Submit events; return their futures, in order. See `Client.submit_many`."""
        futures = []
        for each in events:
            try:
                future = await self.submit(each, source=source, deadline=deadline)
            except SluiceError as error:
                future = _new_future()
                future.set_exception(error)
            futures.append(future)
        return futures

    async def scan(
        self, data: object, *, source: str = "", timeout: float = CALL_SECONDS
    ) -> ingest.ScanResponse:
        """Tell what would be decided about an event. See `Client.scan`."""
        request = ingest.ScanRequest(data=Value.FromString(encode(data)), source=source)
        self._core.start()
        return await asyncio.to_thread(self._core.scan, request, timeout)

    async def status(
        self, task_id: str, *, timeout: float = CALL_SECONDS
    ) -> ingest.GetStatusResponse:
        """Tell where a task stands. Raises CallFailed."""
        self._core.start()
        return await asyncio.to_thread(self._core.status, task_id, timeout)

    async def watch(
        self, task_id: str, *, timeout: float | None = None
    ) -> AsyncIterator[ingest.GetStatusResponse]:
        """Yield where a task stands, until its state is final. See `Client.watch`."""
        self._core.start()
        states = self._core.watch(task_id, timeout)
        while (state := await asyncio.to_thread(_next, states)) is not None:
            yield state

    async def wait(
        self, task_id: str, *, timeout: float = CALL_SECONDS
    ) -> ingest.GetStatusResponse:
        """Wait until the state of a task is final, and return it. See `Client.wait`."""
        self._core.start()
        return await asyncio.to_thread(self._core.wait, task_id, timeout)

    @property
    def counts(self) -> Counts:
        """What became of everything that was submitted."""
        return self._core.queue.counts()

    def recovered(self) -> Sequence[asyncio.Future[Receipt]]:
        """Return futures of what the spool held of processes that died. It starts the client."""
        self._core.start()
        return tuple(self._core.recovered)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was submitted has its outcome; return whether it has."""
        return await asyncio.to_thread(self._core.queue.flush, timeout)

    async def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Flush, and stop. What has no outcome after `timeout` seconds gets Unanswered."""
        await asyncio.to_thread(self._core.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _new_future() -> asyncio.Future[Receipt]:
    return asyncio.get_running_loop().create_future()


def _next(states: Iterator[ingest.GetStatusResponse]) -> ingest.GetStatusResponse | None:
    # A StopIteration cannot pass through a future.
    return next(states, None)


def _resolve(outcomes: Sequence[tuple[asyncio.Future[Receipt] | None, Outcome]]) -> None:
    """Tell futures their outcomes, all those of a loop in one step."""
    loops = defaultdict(list)
    for future, outcome in outcomes:
        if future is not None:
            loops[future.get_loop()].append((future, outcome))
    for loop, told in loops.items():
        _call_soon(loop, partial(_tell, told))


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    # It raises when the loop is closed: then nobody waits there any more.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def _tell(outcomes: Sequence[tuple[asyncio.Future[Receipt], Outcome]]) -> None:
    for future, outcome in outcomes:
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
