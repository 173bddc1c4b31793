"""Redis, asked from an event loop: what ingest asks for each submission, without a thread.

redis-py's ordinary way costs several times what is asked for (decision 32). It still makes each
connection, so address, TLS, user, database and the first look at Redis are as they are everywhere;
then hiredis packs and parses. A connection carries one command at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import hiredis
import redis.asyncio
from redis.connection import DefaultParser
from redis.exceptions import AskError, ClusterDownError, TryAgainError

from job_store.cluster import REDIRECTION_SECONDS, REDIRECTIONS, Cluster, NotServedHere

Result = TypeVar("Result")
_MORE = object()
"""What the reader returns while a reply is incomplete."""


class AsyncConnection(asyncio.Protocol):
    """A connection that was made, at that moment of the clock. Whoever has it asks one thing, waits
    for the reply and asks the next.

    It is closed when the reply is late or its caller goes away: an answer must never be taken for
    that to another question.
    """

    def __init__(self, connection: Any, made_at: float) -> None:
        self.address = (getattr(connection, "host", ""), getattr(connection, "port", 0))
        self.made_at = made_at
        # Which is not part of redis-py's interface. Kept because a stream's writer closes the
        # connection when nobody holds it any more.
        self._writer: asyncio.StreamWriter = connection._writer
        connection._writer = connection._reader = None
        self._transport: asyncio.Transport = self._writer.transport
        self._transport.set_protocol(self)
        self._reply_seconds: float = connection.socket_timeout
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        self._reply: asyncio.Future[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may be asked."""
        return not self._transport.is_closing()

    async def ask(self, *command: bytes | str | int) -> Any:
        """Return the reply to a command; texts in it are bytes.

        Raises redis.ResponseError for an error that Redis replied, redis.TimeoutError or another
        redis.RedisError when it is not known what happened.
        """
        if not self.is_open:
            raise redis.ConnectionError("the connection is lost")
        self._reply = reply = self._loop.create_future()
        late = self._loop.call_later(self._reply_seconds, _give_up, reply)
        try:
            self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]
            return await reply
        except redis.ResponseError:
            raise
        except BaseException:
            self.close()
            raise
        finally:
            late.cancel()
            self._reply = None

    def close(self) -> None:
        """Close it at once, whatever is in flight."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _MORE:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                if self._reply is None or self._reply.done():
                    # Nobody knows to what.
                    self.close()
                elif isinstance(reply, redis.RedisError):
                    self._reply.set_exception(reply)
                else:
                    self._reply.set_result(reply)
        except redis.InvalidResponse as error:
            if self._reply is not None:
                _fail(self._reply, error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        if self._reply is not None:
            _fail(self._reply, redis.ConnectionError("the connection was lost"))


def _give_up(reply: asyncio.Future[Any]) -> None:
    _fail(reply, redis.TimeoutError("Redis did not answer in time"))


def _fail(reply: asyncio.Future[Any], error: redis.RedisError) -> None:
    if not reply.done():
        reply.set_exception(error)


class AsyncClient:
    """The connections to the Redis that has a partition. Only for one event loop.

    `make` makes a connection of redis-py that is to be connected yet. `cluster` is where its node
    belongs to, if to any: then what a node turned away is sent to the primary of the moment, as
    job_store.cluster.PrimaryConnection does.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[redis.asyncio.Connection]],
        cluster: Cluster | None = None,
    ) -> None:
        self._make = make
        self._cluster = cluster
        self._idle: list[AsyncConnection] = []

    async def run(self, use: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        """Return what `use` returns, which has a connection to itself for as long as it takes.

        Raises redis.RedisError. Never repeats anything but what a node did not carry out.
        """
        for _ in range(REDIRECTIONS):
            try:
                return await self._run(use)
            except NotServedHere:
                await asyncio.sleep(REDIRECTION_SECONDS)
        return await self._run(use)

    def close(self) -> None:
        """Close all connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    async def _run(self, use: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        connection = self._take_idle() or await self._connect()
        try:
            return await use(connection)
        except redis.TimeoutError:
            if self._cluster is not None:
                self._cluster.note_silence(connection.address)
            raise
        except (AskError, TryAgainError, ClusterDownError) as error:
            # MOVED is an AskError, too.
            if self._cluster is None:
                raise
            connection.close()
            raise NotServedHere(type(error).__name__) from None
        finally:
            if connection.is_open:
                self._idle.append(connection)

    def _take_idle(self) -> AsyncConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if self._cluster is not None and self._cluster.was_silent(
                connection.address, connection.made_at
            ):
                connection.close()
            if connection.is_open:
                return connection
        return None

    async def _connect(self) -> AsyncConnection:
        connection = await self._make()
        began = time.monotonic()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if self._cluster is not None and isinstance(error, redis.TimeoutError):
                self._cluster.note_silence((connection.host, connection.port))
            raise
        return AsyncConnection(connection, began)
