"""The connection to Redis: one that may be trusted, and never repeats a command by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from job_store.cluster import REDIRECTED, Cluster, PrimaryConnection
from job_store.errors import NotDurable, QueueFull, QueueUnavailable

CONNECT_TIMEOUT_SECONDS = 1.0
REPLY_TIMEOUT_SECONDS = 3.0

Result = TypeVar("Result")


def connect(url: str) -> redis.Redis:
    """Return a client that never repeats a command by itself.

    redis-py repeats up to ten times by default. A repeated command whose first reply was lost
    stores a message twice, and hides the loss from the code that would have to know.

    Every new connection first makes sure that Redis keeps what it acknowledges, and raises
    NotDurable otherwise: a Redis that was restarted with another configuration takes commands
    before any probe can tell.
    """
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_OPTIONS)


def connect_to_primary(cluster: Cluster, slot: int, options: Mapping[str, Any]) -> redis.Redis:
    """Return a client of whichever node of a cluster has this slot; otherwise as `connect` does.

    What a node turned away is sent to the primary of the moment: it was not carried out.
    """
    return redis.Redis.from_pool(
        redis.ConnectionPool(
            connection_class=PrimaryConnection,
            cluster=cluster,
            slot=slot,
            retry=REDIRECTED,
            **options,
            **_OPTIONS,
        )
    )


def require_durability(info: Mapping[str, Any]) -> None:
    """Check that a Redis that tells this of itself (INFO) keeps what it acknowledges.

    Raises NotDurable when it may lose or evict data.
    """
    if str(info["aof_enabled"]) != "1":
        raise NotDurable("Redis keeps no append-only file: set appendonly yes")
    if info["aof_last_write_status"] != "ok":
        raise NotDurable("Redis could not write its append-only file: look at its disk")
    if info["maxmemory_policy"] != "noeviction":
        raise NotDurable("Redis may evict data: set maxmemory-policy noeviction")


def repeatable(call: Callable[[], Result]) -> Result:
    """Make a call to Redis that may be made twice, and make it twice when its connection was lost.

    A connection that was idle while Redis was restarted is found dead only when it is used. Raises
    QueueFull when Redis has no memory left, otherwise QueueUnavailable.
    """
    try:
        try:
            return call()
        except redis.ConnectionError:
            return call()
    except redis.exceptions.OutOfMemoryError:
        raise QueueFull from None
    except redis.RedisError as error:
        raise QueueUnavailable from error


def _greet(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("INFO")
    lines = bytes(connection.read_response(disable_decoding=True)).decode().splitlines()
    require_durability(dict(line.split(":", 1) for line in lines if ":" in line))


_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "socket_timeout": REPLY_TIMEOUT_SECONDS,
    "health_check_interval": 15,
    "redis_connect_func": _greet,
}
