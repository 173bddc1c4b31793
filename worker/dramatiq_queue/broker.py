"""The broker of one queue; README.md here lists how it differs from Dramatiq's own."""

from __future__ import annotations

from typing import cast

import redis
from dramatiq import Consumer
from dramatiq.brokers.redis import RedisBroker

from job_store.dead_letters import DeadLetters
from job_store.keys import ONLY
from job_store.scripts import ALLOW_OOM
from worker.dramatiq_queue.consumer import QueueConsumer
from worker.waiting import Stop

# A dead letter is something we promised to keep, so it goes when a person sends it. Every broker on
# these queues throws away what is older than its own limit; ten years stand for never.
DEAD_LETTER_MILLISECONDS = 10 * 365 * 24 * 3600 * 1000

HEARTBEATS = 4
"""Signs of life in the time after which a worker counts as dead."""


class QueueBroker(RedisBroker):
    """A broker of one queue, without middleware and without a queue for delayed messages.

    `most` is how many messages an actor gets in one call.

    Retries, results and time limits are middleware of Dramatiq's; retries and delays lose messages.
    """

    def __init__(
        self,
        client: redis.Redis,
        heartbeat_seconds: float,
        stop: Stop,
        most: int,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            namespace=ONLY.namespace,
            middleware=[],
            heartbeat_timeout=int(heartbeat_seconds * 1000),
            # Every command looks for what dead workers held.
            maintenance_chance=1_000_000,
            dead_message_ttl=DEAD_LETTER_MILLISECONDS,
        )
        dispatch = self.scripts["dispatch"]
        self.scripts["dispatch"] = client.register_script(
            ALLOW_OOM.encode() + cast(bytes, dispatch.script)
        )
        self._letters = DeadLetters(client)
        self._stop = stop
        self._most = most
        self._heartbeat_seconds = heartbeat_seconds / HEARTBEATS
        self.consumer: QueueConsumer | None = None

    def declare_queue(self, queue_name: str) -> None:
        """Declare the queue, without the delay queue that Dramatiq gives each."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Return the consumer of the queue. The second call ends the process.

        Dramatiq consumes again after its consumer failed, and has lost by then what it had fetched.
        """
        if self.consumer is not None:
            self._stop.crash("a consumer failed")
        self.consumer = QueueConsumer(
            self,
            queue_name,
            prefetch,
            self._most,
            self._heartbeat_seconds,
            self._letters,
            self._stop,
        )
        return self.consumer
