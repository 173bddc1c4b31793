"""Partitions: the places among which jobs are divided, on one Redis or on a cluster."""

from __future__ import annotations

import secrets
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from ulid import ULID

from job_store.cluster import Address, Cluster
from job_store.keys import ONLY, PARTITIONS, Keys
from job_store.redis_client import connect, connect_to_primary
from job_store.settings import CLUSTER_SCHEME, StoreSettings
from mesh.health import Unhealthy

CLUSTER_PARTITIONS = 16
"""On a cluster, unless set: for up to as many primaries."""
DEFAULT_PORT = 6379
NUMBER_BITS = 10
"""Of a job's id, the last two of its characters, for the number of its partition."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One of `count` partitions: a client of the Redis that has it, its keys and its number."""

    client: redis.Redis
    keys: Keys = ONLY
    number: int = 0
    count: int = 1

    def new_job(self) -> ULID:
        """Return the id of a new job: where there are several partitions, one that ends with the
        number."""
        if self.count == 1:
            return ULID()
        # Not by way of a ULID of the library: within a millisecond it counts up in these bits.
        noise = secrets.randbits(80 - NUMBER_BITS)
        return ULID.from_int(time.time_ns() // 1_000_000 << 80 | noise << NUMBER_BITS | self.number)


class Partitions:
    """All partitions, in the order of their numbers."""

    def __init__(self, every: Sequence[Partition], decided_on: redis.Redis) -> None:
        self.all = every
        self._decided_on = decided_on

    @classmethod
    def of(cls, settings: StoreSettings) -> Partitions:
        """Return the partitions of the Redis, or the cluster, that is set. Nothing is asked yet."""
        url, count = settings.redis_url, settings.redis_partitions
        if not url.startswith(f"{CLUSTER_SCHEME}://"):
            client = connect(url)
            count = count or 1
            if count == 1:
                return cls([Partition(client)], client)
            tags = hash_tags(count)
            every = [Partition(client, Keys(tag), n, count) for n, tag in enumerate(tags)]
            return cls(every, client)
        seeds, options = _parsed(url)
        cluster = Cluster(seeds, options)

        def client_for(key: str) -> redis.Redis:
            return connect_to_primary(cluster, key_slot(key.encode()), options)

        count = count or CLUSTER_PARTITIONS
        every = [
            Partition(client_for(tag), Keys(tag), n, count)
            for n, tag in enumerate(hash_tags(count))
        ]
        return cls(every, client_for(PARTITIONS))

    def of_job(self, job_id: str) -> Partition | None:
        """Return the partition of a job, None for an id that no job can have."""
        if len(self.all) == 1:
            return self.all[0]
        number = int(ULID.from_str(job_id)) & ((1 << NUMBER_BITS) - 1)
        return self.all[number] if number < len(self.all) else None

    def of_name(self, name: bytes) -> Partition:
        """Return the partition of what has no job yet: a request id, an alert."""
        return self.all[zlib.crc32(name) % len(self.all)]

    def require_agreement(self, *, may_decide: bool = True) -> None:
        """Check that there are as many partitions as when the mesh was first started.

        The first to ask decides, unless it only looks (`may_decide` false). Raises
        mesh.health.Unhealthy with what to do, redis.RedisError when it is not known.
        """
        count = len(self.all)
        kept = cast("bytes | None", self._decided_on.get(PARTITIONS))
        if kept is None:
            decided = 1 if self._has_jobs_without_tag() else count
            if may_decide:
                # Not every time: at its memory limit Redis takes no write at all.
                self._decided_on.set(PARTITIONS, decided, nx=True)
                decided = int(cast(bytes, self._decided_on.get(PARTITIONS) or b"0"))
        else:
            decided = int(kept)
        if decided != count:
            raise Unhealthy(
                f"SLUICE_REDIS_PARTITIONS is {count}, and this mesh was first started with "
                f"{decided}, which is final: set it to {decided}"
            )

    def _has_jobs_without_tag(self) -> bool:
        """Return whether there are jobs from before the number was written down: then it was 1."""
        on_cluster = self._decided_on is not self.all[0].client
        return not on_cluster and bool(self._decided_on.exists(ONLY.counts))


def hash_tags(count: int) -> list[str]:
    """Return the hash tag of each of so many partitions.

    Their slots are spread evenly, the one of the n-th in the n-th part of all slots: primaries with
    equal ranges of slots get equal numbers of partitions.
    """
    tags = []
    for number in range(count):
        tag, attempt = str(number), 0
        while key_slot(tag.encode()) * count // REDIS_CLUSTER_HASH_SLOTS != number:
            attempt += 1
            tag = f"{number}.{attempt}"
        tags.append(tag)
    return tags


def _parsed(url: str) -> tuple[list[Address], dict[str, str]]:
    """Return the nodes that a cluster's address names, and the user and password, if any."""
    user, _, hosts = urlsplit(url).netloc.rpartition("@")
    name, _, password = user.partition(":")
    options = {}
    if name:
        options["username"] = unquote(name)
    if password:
        options["password"] = unquote(password)
    seeds = []
    for each in hosts.split(","):
        # An IPv6 address stands in brackets.
        parts = urlsplit(f"//{each}")
        seeds.append((parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT))
    return seeds, options
