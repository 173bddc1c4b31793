"""The threads of one queue.

Dramatiq shares the threads of a Worker among its queues, so jobs that wait for the sink would hold
up alerts and the other way round. Each queue has a broker and a Worker of its own instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import PriorityQueue
from typing import Any

import redis
from dramatiq import Actor, Worker

from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.delivery import Delivery
from worker.waiting import Interrupted


class WorkQueue(PriorityQueue[Any]):
    """What the threads take their work from. They wait until there is some, or none comes any more.

    Dramatiq's threads wake every so often instead, to see whether they are to end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_ended = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next work. Raises Empty when there is none any more, or none without waiting.

        `timeout` is not looked at.
        """
        if block:
            with self.not_empty:
                self.not_empty.wait_for(lambda: self._qsize() or self._is_ended)
        return super().get(block=False)

    def end(self) -> None:
        """Let nobody wait from now on."""
        with self.not_empty:
            self._is_ended = True
            self.not_empty.notify_all()


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
        self._worker = Worker(broker, worker_threads=threads)
        self._work = self._worker.work_queue = WorkQueue()
        # A batch that is fetched waits here, while another worker may have a free thread.
        self._worker.queue_prefetch = threads

    def start(self) -> None:
        """Start consuming."""
        self._worker.start()

    def stop(self, seconds: float) -> None:
        """Let running actors end and give the rest back to the queue."""
        for thread in self._worker.workers:
            thread.stop()
        self._work.end()
        self._worker.stop(timeout=int(seconds * 1000))

    def is_alive(self) -> bool:
        """Return whether all threads are alive."""
        threads: list[threading.Thread] = [*self._worker.workers, *self._worker.consumers.values()]
        return bool(threads) and all(thread.is_alive() for thread in threads)

    def unaccounted(self) -> set[bytes]:
        """Return what QueueConsumer.unaccounted does, nothing while nothing is consumed."""
        consumer = self._broker.consumer
        return set() if consumer is None else consumer.unaccounted()
