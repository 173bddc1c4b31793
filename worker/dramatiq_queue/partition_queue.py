"""One queue in one partition, and what this worker has of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from dramatiq.brokers.redis import RedisBroker

from job_store.dead_letters import DeadLetters
from job_store.partitions import Partition
from job_store.queues import Fetched, StoredQueue
from job_store.scripts import ALLOW_OOM
from worker.dramatiq_queue.held_messages import HeldMessages

HEARTBEATS = 4
"""Signs of life in the time after which a worker counts as dead."""

# A dead letter is something we promised to keep, so it goes when a person sends it. Every broker on
# these queues throws away what is older than its own limit; ten years stand for never.
DEAD_LETTER_MILLISECONDS = 10 * 365 * 24 * 3600 * 1000


class PartitionQueue:
    """A queue in a partition: how it is fetched from, and when next.

    `heartbeat_seconds` is the time after which a worker without a sign of life counts as dead. What
    is fetched is confirmed by `confirming_replicas`. What calls Redis raises redis.RedisError.
    """

    def __init__(
        self,
        partition: Partition,
        queue: str,
        heartbeat_seconds: float,
        confirming_replicas: int = 0,
    ) -> None:
        self.number = partition.number
        self._queue = queue
        self._client = partition.client
        # Its commands are used, and not its consumer.
        self._dramatiq = RedisBroker(  # type: ignore[no-untyped-call]
            client=partition.client,
            namespace=partition.keys.namespace,
            middleware=[],
            heartbeat_timeout=int(heartbeat_seconds * 1000),
            # Every command looks for what dead workers held.
            maintenance_chance=1_000_000,
            dead_message_ttl=DEAD_LETTER_MILLISECONDS,
        )
        dispatch = self._dramatiq.scripts["dispatch"]
        self._dramatiq.scripts["dispatch"] = partition.client.register_script(
            ALLOW_OOM.encode() + cast(bytes, dispatch.script)
        )
        self.stored = StoredQueue(partition.client, queue, partition.keys, confirming_replicas)
        self._letters = DeadLetters(partition.client, partition.keys)
        self.held = HeldMessages()
        self.is_empty = False
        """Whether nothing waited at the last look."""
        self.is_fetching = False
        """Whether messages are on their way or, when a fetch failed, may have been fetched."""
        self.may_hold = True
        """Whether Redis may count messages as fetched by this worker."""
        self.doubtful_until = float("-inf")
        """By the monotonic clock, until when a fetch that was given up may still be carried out."""
        self.is_silent = False
        """Whether it did not answer, or did not confirm, the last time."""
        self.heartbeat_seconds = heartbeat_seconds / HEARTBEATS
        """Between two signs of life."""
        self.next_heartbeat = 0.0
        self.next_fetch = 0.0
        """By the monotonic clock, like the next heartbeat."""

    @property
    def worker_id(self) -> str:
        """Who this worker is to the queue."""
        return self._dramatiq.broker_id

    def show_life(self) -> None:
        """Send a sign of life, and bring back what dead workers held."""
        self._dramatiq.do_qsize(self._queue)

    def ping(self) -> None:
        """Ask for a sign of life of Redis."""
        self._client.ping()

    def connect(self) -> None:
        """See that there is a connection: without one no command is sent."""
        pool = self._client.connection_pool
        pool.release(pool.get_connection())

    def fetch(self, most: int, most_bytes: int) -> Fetched:
        """Take messages that lie where a failover does not lose them.

        Raises job_store.replication.NotConfirmed when some were taken of which that is not known.
        """
        return self.stored.fetch(self.worker_id, most, most_bytes)

    def fetched(self) -> set[bytes]:
        """Return the ids of what this worker has, by what Redis says."""
        return self.stored.fetched(self.worker_id)

    def acknowledge(self, redis_ids: Sequence[bytes]) -> None:
        """Remove messages that are done."""
        self.stored.acknowledge(self.worker_id, redis_ids)

    def requeue(self, redis_ids: Sequence[bytes]) -> None:
        """Put messages back, behind the others."""
        self._dramatiq.do_requeue(self._queue, *redis_ids)

    def set_aside(self, redis_id: bytes, reason: str, failed: int) -> None:
        """Make a message a dead letter."""
        self._letters.note(redis_id, reason, failed)
        self._dramatiq.do_nack(self._queue, redis_id)
