"""The Dramatiq queues as they lie in Redis, for whoever looks at one or takes from it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, cast

import redis

from job_store.keys import ONLY, Keys
from job_store.replication import Confirmation
from job_store.scripts import script


class Fetched(NamedTuple):
    """What a worker took off a queue."""

    messages: list[tuple[bytes, bytes | None]]
    """Each with its id; None for an id that has no message."""
    waiting: int
    """How many were left."""


class StoredQueue:
    """One queue. Every method raises redis.RedisError.

    `confirming_replicas` must have on disk what a fetch returns.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        keys: Keys = ONLY,
        confirming_replicas: int = 0,
    ) -> None:
        self._client = client
        self._name = name
        self._keys = keys
        self._fetch = script(client, "fetch")
        self._confirmation = Confirmation(client, confirming_replicas)
        self._acknowledge = script(client, "acknowledge")

    def fetch(self, worker_id: str, most: int, most_bytes: int) -> Fetched:
        """Take messages off the queue in the name of a worker.

        At most `most` of them and of `most_bytes` in all, but a first one whatever its size. A
        fetch is a write, so replicas that confirm it have what was written before, the messages
        too. Raises job_store.replication.NotConfirmed when they do not; all is fetched then.
        """
        keys = [
            self._keys.waiting(self._name),
            self._keys.messages(self._name),
            self._keys.fetched(self._name, worker_id),
            self._keys.heartbeats,
        ]
        args: list[str | int] = [worker_id, time.time_ns() // 1_000_000, most, most_bytes]
        waiting, *taken = self._confirmation.run(self._fetch, keys, args) or [0]
        return Fetched(list(zip(taken[::2], taken[1::2], strict=True)), waiting)

    def require_confirmation(self) -> None:
        """Check that what is fetched can be confirmed, if it is to be.

        Raises job_store.errors.NotDurable.
        """
        self._confirmation.require_supported()

    def await_message(self, seconds: float) -> bool:
        """Return whether a message waits: once one does, at the latest after so many seconds.

        It changes nothing: it is a blocking move of the last id to where it is. At its memory limit
        Redis refuses it (redis.exceptions.OutOfMemoryError), since in general a move takes memory.
        """
        key = self._keys.waiting(self._name)
        # The stub knows whole seconds only.
        moved = self._client.blmove(key, key, cast(int, seconds), "RIGHT", "RIGHT")
        return cast("bytes | None", moved) is not None

    def acknowledge(self, worker_id: str, message_ids: Sequence[bytes]) -> None:
        """Remove messages that a worker has fetched and is done with."""
        keys = [self._keys.fetched(self._name, worker_id), self._keys.messages(self._name)]
        self._acknowledge(keys=keys, args=message_ids)

    def waiting(self) -> int:
        """Return how many messages no worker has."""
        return self._client.llen(self._keys.waiting(self._name))

    def dead(self) -> int:
        """Return how many dead letters there are."""
        return self._client.zcard(self._keys.dead(self._name))

    def fetched(self, worker_id: str) -> set[bytes]:
        """Return the ids that a worker has fetched and not acknowledged."""
        return cast("set[bytes]", self._client.smembers(self._keys.fetched(self._name, worker_id)))

    def count_fetched(self, worker_id: str) -> int:
        """Return how many ids a worker has fetched and not acknowledged."""
        return self._client.scard(self._keys.fetched(self._name, worker_id))
