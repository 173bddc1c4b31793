"""Work that goes on when its caller goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Background:
    """Runs coroutines to their end, whether or not somebody still awaits the result."""

    def __init__(self) -> None:
        # The event loop holds its tasks weakly: without this one could vanish half done.
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Return or raise what the coroutine does; when the caller is cancelled, it goes on."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait until everything that was begun has ended, what begins meanwhile included."""
        while self._tasks:
            await asyncio.wait(self._tasks)
