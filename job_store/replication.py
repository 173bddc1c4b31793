"""Confirmation by replicas: what is acknowledged lies on more than one machine's disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import ResponseError

from job_store.async_client import AsyncConnection
from job_store.cluster import NotServedHere
from job_store.errors import NotDurable
from job_store.scripts import AsyncScript

CONFIRMATION_SECONDS = 1.0
"""How long replicas may take. They take one millisecond while all is well."""
ASK_MILLISECONDS = 5
"""After which replicas are asked once more. One that is asked while it takes in the very write
tells what it had on disk before, and nothing more for a second unless asked. Redis ends a wait only
`hz` times a second."""


class NotConfirmed(redis.RedisError):
    """Too few replicas confirmed. What was asked for has happened, and a failover may undo it."""


class Confirmation:
    """Has what is written confirmed by as many replicas as is set: by none of them when 0.

    Redis tells by WAITAOF what the replicas have on disk of what *this connection* has written, so
    the command follows the script on the same one. What the script only read was written over
    another connection; then the script has to write something. The two are not sent together: the
    replica would be asked with the write, and answer of the time before it.
    """

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._question = (1, replicas, ASK_MILLISECONDS)

    @property
    def is_wanted(self) -> bool:
        """Whether any replica is to confirm."""
        return self._replicas > 0

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script; return its answer once what it wrote is confirmed.

        Raises NotConfirmed and redis.RedisError. May be repeated if the script may.
        """
        if not self.is_wanted:
            return script(keys, arguments)
        with script.registered_client.client() as connection:  # type: ignore[union-attr]
            answer = script(keys, arguments, connection)
            deadline = time.monotonic() + CONFIRMATION_SECONDS
            try:
                while not self._is_enough(connection.waitaof(*self._question), deadline):
                    pass
            except (ResponseError, NotServedHere) as error:
                raise _refused() from error
        return answer

    async def async_run(
        self,
        connection: AsyncConnection,
        script: AsyncScript,
        keys: Sequence[str],
        arguments: Sequence[Any],
    ) -> Any:
        """Do what `run` does on an event loop."""
        answer = await script(connection, keys, arguments)
        if self.is_wanted:
            deadline = time.monotonic() + CONFIRMATION_SECONDS
            try:
                while not self._is_enough(
                    await connection.ask("WAITAOF", *self._question), deadline
                ):
                    pass
            except ResponseError as error:
                raise _refused() from error
        return answer

    def _is_enough(self, told: Sequence[int], deadline: float) -> bool:
        """Return whether so many have it on disk, here and elsewhere."""
        local, remote = told
        if local and remote >= self._replicas:
            return True
        if time.monotonic() > deadline:
            raise NotConfirmed("too few replicas have it on disk")
        return False

    def require_supported(self, client: redis.Redis) -> None:
        """Check that this Redis knows of confirmations. Raises NotDurable or redis.RedisError."""
        if self.is_wanted:
            try:
                client.waitaof(0, 0, 1)
            except ResponseError as error:
                raise _if_too_old(error) from None

    async def require_possible(self, connection: AsyncConnection) -> None:
        """Check that the primary is set up for it. Raises NotDurable or redis.RedisError.

        A primary whose settings may not be read, as those of some hosted services, is trusted.
        """
        if not self.is_wanted:
            return
        try:
            await connection.ask("WAITAOF", 0, 0, 1)
        except ResponseError as error:
            raise _if_too_old(error) from None
        try:
            told = await connection.ask("CONFIG", "GET", "min-replicas-to-write", "appendfsync")
        except ResponseError:
            return
        # A list when an address demands the second version of the protocol.
        found = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
        if int(found[b"min-replicas-to-write"] or 0) < self._replicas:
            raise NotDurable(
                "Redis takes writes that no replica gets: set min-replicas-to-write "
                f"{self._replicas}"
            )
        if found[b"appendfsync"] != b"always":
            raise NotDurable(
                "Redis writes to its disk later than it answers: set appendfsync always"
            )


def _refused() -> NotConfirmed:
    """Return what a refused WAITAOF means: the script before it has run."""
    return NotConfirmed("no confirmation can be had")


def _if_too_old(error: ResponseError) -> redis.RedisError | NotDurable:
    """Return what an error of WAITAOF means for whoever wants confirmations."""
    if "unknown command" not in str(error).lower():
        return error
    return NotDurable(
        "confirming replicas need Redis 7.2 or Valkey, and this is an older one: "
        "replace it, or set SLUICE_REDIS_CONFIRMING_REPLICAS to 0"
    )
