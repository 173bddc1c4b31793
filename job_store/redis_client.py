"""The connections to Redis: each may be trusted, and never repeats a command by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.retry import Retry

from job_store.async_client import AsyncClient
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


def connect_async(url: str) -> AsyncClient:
    """Return what `connect` does for an event loop."""
    pool: Any = redis.asyncio.ConnectionPool.from_url(url, **_ASYNC_OPTIONS)

    async def make() -> redis.asyncio.Connection:
        return cast(redis.asyncio.Connection, pool.make_connection())

    return AsyncClient(make)


def connect_async_to_primary(
    cluster: Cluster, slot: int, options: Mapping[str, Any]
) -> AsyncClient:
    """Return what `connect_to_primary` does for an event loop."""

    async def make() -> redis.asyncio.Connection:
        host, port = await cluster.find_primary(slot)
        return redis.asyncio.Connection(host=host, port=port, **options, **_ASYNC_OPTIONS)

    return AsyncClient(make, cluster)


def require_durability(info: Mapping[str, str]) -> None:
    """Check that a Redis that tells this of itself (INFO) keeps what it acknowledges.

    Raises NotDurable when it may lose or evict data.
    """
    if info["aof_enabled"] != "1":
        raise NotDurable("Redis keeps no append-only file: set appendonly yes")
    if info["aof_last_write_status"] != "ok":
        raise NotDurable("Redis could not write its append-only file: look at its disk")
    if info["maxmemory_policy"] != "noeviction":
        raise NotDurable("Redis may evict data: set maxmemory-policy noeviction")


def again_if_lost(call: Callable[[], Result]) -> Result:
    """Make a call to Redis that may be made twice, and make it twice when its connection was lost.

    A connection that was idle while Redis was restarted is found dead only when it is used. Raises
    redis.RedisError.
    """
    try:
        return call()
    except redis.ConnectionError:
        return call()


def repeatable(call: Callable[[], Result]) -> Result:
    """Do what `again_if_lost` does, for whoever has to be told in our own words.

    Raises QueueFull when Redis has no memory left, otherwise QueueUnavailable.
    """
    with _told_as_ours():
        return again_if_lost(call)


async def async_repeatable(call: Callable[[], Awaitable[Result]]) -> Result:
    """Do what `repeatable` does on an event loop."""
    with _told_as_ours():
        try:
            return await call()
        except redis.ConnectionError:
            return await call()


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.OutOfMemoryError:
        raise QueueFull from None
    except redis.RedisError as error:
        raise QueueUnavailable from error


def _greet(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("INFO")
    _look_at(connection.read_response(disable_decoding=True))


async def _async_greet(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("INFO")
    _look_at(await connection.read_response(disable_decoding=True))


def _look_at(told: bytes) -> None:
    lines = bytes(told).decode().splitlines()
    require_durability(dict(line.split(":", 1) for line in lines if ":" in line))


_TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "socket_timeout": REPLY_TIMEOUT_SECONDS,
}
_OPTIONS: dict[str, Any] = {
    **_TIMEOUTS,
    "health_check_interval": 15,
    "redis_connect_func": _greet,
}
_ASYNC_OPTIONS: dict[str, Any] = {
    **_TIMEOUTS,
    "retry": redis.asyncio.retry.Retry(NoBackoff(), 0),
    "redis_connect_func": _async_greet,
}
