"""The threads of one queue.

Dramatiq shares the threads of a Worker among its queues, so jobs that wait for the sink would hold
up alerts and the other way round. Each queue has a broker and a Worker of its own instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import redis
from dramatiq import Actor, Worker

from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.delivery import Delivery
from worker.waiting import Interrupted

WAKE_SECONDS = 0.5
"""Between two looks of an idle thread at whether it is to end."""


class QueueWorker:
    """One queue, its actor under every name it has, and the threads that run it."""

    def __init__(
        self,
        broker: QueueBroker,
        queue: str,
        actor_names: Sequence[str],
        actor: Callable[[Sequence[Delivery]], None],
        threads: int,
    ) -> None:
        self.queue = queue
        self.sources = broker.partitions
        """The queue in each partition."""
        self._broker = broker
        for actor_name in actor_names:
            Actor(
                actor,
                broker=broker,
                actor_name=actor_name,
                queue_name=queue,
                priority=0,
                # Dramatiq logs these without the word error.
                options={"throws": (Interrupted, redis.RedisError)},
            )
        self._worker = Worker(
            broker, worker_threads=threads, worker_timeout=int(WAKE_SECONDS * 1000)
        )
        # A batch that is fetched waits here, while another worker may have a free thread.
        self._worker.queue_prefetch = threads

    def start(self) -> None:
        """Start consuming."""
        self._worker.start()

    def stop(self, seconds: float) -> None:
        """Let running actors end and give the rest back to the queue."""
        self._worker.stop(timeout=int(seconds * 1000))

    def is_alive(self) -> bool:
        """Return whether all threads are alive."""
        threads: list[threading.Thread] = [*self._worker.workers, *self._worker.consumers.values()]
        return bool(threads) and all(thread.is_alive() for thread in threads)

    def unaccounted(self) -> set[bytes]:
        """Return what QueueConsumer.unaccounted does, nothing while nothing is consumed."""
        consumer = self._broker.consumer
        return set() if consumer is None else consumer.unaccounted()
