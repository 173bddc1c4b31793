"""The broker of one queue; README.md here lists how it differs from Dramatiq's own."""

from __future__ import annotations

from collections.abc import Sequence

from dramatiq import Broker, Consumer

from worker.dramatiq_queue.consumer import QueueConsumer
from worker.dramatiq_queue.partition_queue import PartitionQueue
from worker.waiting import Stop


class QueueBroker(Broker):
    """A broker of one queue in all partitions, without middleware and without delayed messages.

    Retries, results and time limits are middleware of Dramatiq's; retries and delays lose messages.
    `most` is how many messages an actor gets in one call.
    """

    def __init__(
        self,
        partitions: Sequence[PartitionQueue],
        most: int,
        stop: Stop,
    ) -> None:
        super().__init__(middleware=[])
        self.queues: set[str] = set()
        self.partitions = partitions
        self._most = most
        self._stop = stop
        self.consumer: QueueConsumer | None = None

    def declare_queue(self, queue_name: str) -> None:
        """Declare the queue, without the delay queue that Dramatiq gives each."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def get_declared_queues(self) -> set[str]:
        """Return the names of the queues."""
        return set(self.queues)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Return the consumer of the queue. The second call ends the process.

        Dramatiq consumes again after its consumer failed, and has lost by then what it had fetched.
        """
        if self.consumer is not None:
            self._stop.crash("a consumer failed")
        self.consumer = QueueConsumer(
            queue_name,
            self.partitions,
            self.actors,
            prefetch,
            self._most,
            self._stop,
        )
        return self.consumer
