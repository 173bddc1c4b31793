"""Calls in threads: at the same moment, or again and again beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

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
