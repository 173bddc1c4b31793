"""Calls in threads: at the same moment, again and again beside a test, or on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")


def at_once(count: int, call: Callable[[int], Result]) -> list[Result]:
    """Make calls that begin at the same moment; return what they return."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Result:
        barrier.wait(10)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@contextmanager
def repeating(call: Callable[[], object]) -> Iterator[None]:
    """Make a call again and again for the time of the block. Raises what it raises."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.is_set():
            call()

    with ThreadPoolExecutor(1) as pool:
        repeated = pool.submit(repeat)
        try:
            yield
        finally:
            is_over.set()
        repeated.result()


def on_a_loop(call: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine for a test that is none, always on the same event loop."""
    return asyncio.run_coroutine_threadsafe(call, _loop()).result(30)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop
