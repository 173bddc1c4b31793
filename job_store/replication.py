"""Confirmation by replicas: what is acknowledged lies on more than one machine's disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.commands.core import Script
from redis.exceptions import ResponseError

from job_store.cluster import NotServedHere
from job_store.errors import NotDurable

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

    def __init__(self, client: redis.Redis, replicas: int) -> None:
        self._client = client
        self._replicas = replicas

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
        with self._client.client() as connection:  # type: ignore[no-untyped-call]
            answer = script(keys, arguments, connection)
            deadline = time.monotonic() + CONFIRMATION_SECONDS
            while True:
                try:
                    local, remote = connection.waitaof(1, self._replicas, ASK_MILLISECONDS)
                except (ResponseError, NotServedHere) as error:
                    # What was refused is this command; the script has run.
                    raise NotConfirmed("no confirmation can be had") from error
                if local and remote >= self._replicas:
                    return answer
                if time.monotonic() > deadline:
                    raise NotConfirmed("too few replicas have it on disk")

    def require_supported(self) -> None:
        """Check that this Redis knows of confirmations. Raises NotDurable or redis.RedisError."""
        if not self.is_wanted:
            return
        try:
            self._client.waitaof(0, 0, 1)
        except ResponseError as error:
            if "unknown command" in str(error).lower():
                raise NotDurable(
                    "confirming replicas need Redis 7.2 or Valkey, and this is an older one: "
                    "replace it, or set SLUICE_REDIS_CONFIRMING_REPLICAS to 0"
                ) from None
            raise

    def require_possible(self) -> None:
        """Check that the primary is set up for it. Raises NotDurable or redis.RedisError.

        A primary whose settings may not be read, as those of some hosted services, is trusted.
        """
        if not self.is_wanted:
            return
        self.require_supported()
        try:
            found = self._client.config_get("min-replicas-to-write", "appendfsync")
        except ResponseError:
            return
        if int(found["min-replicas-to-write"] or 0) < self._replicas:
            raise NotDurable(
                "Redis takes writes that no replica gets: set min-replicas-to-write "
                f"{self._replicas}"
            )
        if found["appendfsync"] != "always":
            raise NotDurable(
                "Redis writes to its disk later than it answers: set appendfsync always"
            )
