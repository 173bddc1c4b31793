"""The way in which tests wait: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import grpc
import redis
from redis.exceptions import RedisClusterException

Seen = TypeVar("Seen")

LOOK_SECONDS = 0.02
NO_ANSWER = (OSError, redis.RedisError, RedisClusterException, grpc.RpcError)
"""What a part that is starting, stopped or hanging raises."""


class ConditionTimeout(AssertionError):
    """A condition was not met in time."""


def eventually(
    look: Callable[[], Seen | None],
    seconds: float = 20.0,
    otherwise: str = "the condition was not met in time",
    *,
    ignoring: tuple[type[Exception], ...] = NO_ANSWER,
) -> Seen:
    """Return the first true answer of `look`; what it raises of `ignoring` counts as none.

    Raises ConditionTimeout, with `otherwise` as its message.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(*ignoring):
            if seen := look():
                return seen
        if time.monotonic() > deadline:
            raise ConditionTimeout(otherwise)
        time.sleep(LOOK_SECONDS)
