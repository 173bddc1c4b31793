"""The Lua scripts: Redis runs each as one step. Its head says what it takes and what it does."""

from __future__ import annotations

from pathlib import Path

import redis
from redis.commands.core import Script

FOLDER = Path(__file__).with_name("lua")

ALLOW_OOM = "#!lua flags=allow-oom\n"
"""First line of a script that Redis runs at its memory limit, too. What a worker does frees memory,
and nothing else would: without this a full Redis could not be drained."""


def script(client: redis.Redis, name: str) -> Script:
    """Return one of our scripts, to be called with `keys` and `args`."""
    return client.register_script((FOLDER / f"{name}.lua").read_text(encoding="utf-8"))
