"""The Lua scripts: Redis runs each as one step. Its head says what it takes and what it does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError

from job_store.async_client import AsyncConnection

FOLDER = Path(__file__).with_name("lua")

ALLOW_OOM = "#!lua flags=allow-oom\n"
"""First line of a script that Redis runs at its memory limit, too. What a worker does frees memory,
and nothing else would: without this a full Redis could not be drained."""


def script(client: redis.Redis, name: str) -> Script:
    """Return one of our scripts, to be called with `keys` and `args`."""
    return client.register_script(text(name))


def text(name: str) -> str:
    """Return what one of our scripts says."""
    return (FOLDER / f"{name}.lua").read_text(encoding="utf-8")


class AsyncScript:
    """A script to be called on an event loop."""

    def __init__(self, lua: str) -> None:
        self._lua = lua
        self._digest = hashlib.sha1(lua.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self, connection: AsyncConnection, keys: Sequence[str], arguments: Sequence[Any]
    ) -> Any:
        """Run it and return its answer. Raises what AsyncConnection.ask does."""
        command = ("EVALSHA", self._digest, len(keys), *keys, *arguments)
        try:
            return await connection.ask(*command)
        except NoScriptError:
            await connection.ask("SCRIPT", "LOAD", self._lua)
            return await connection.ask(*command)
