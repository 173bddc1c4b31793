"""The Dramatiq queues as they lie in Redis, for whoever looks at one."""

from __future__ import annotations

from typing import cast

import redis

from job_store.keys import ONLY, Keys


class StoredQueue:
    """One queue. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis, name: str, keys: Keys = ONLY) -> None:
        self._client = client
        self._name = name
        self._keys = keys

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

    def message(self, message_id: bytes) -> bytes | None:
        """Return a message, waiting or fetched, as it is stored."""
        key = self._keys.messages(self._name)
        return cast("bytes | None", self._client.hget(key, cast(str, message_id)))
