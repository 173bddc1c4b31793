"""Messages in a worker's hands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from dramatiq import Message, MessageProxy
from dramatiq.errors import DecodeError as UndecodableMessage

from worker.dramatiq_queue.partition_queue import PartitionQueue


class Delivery:
    """A message that was fetched from a partition, and how its actor ended with it."""

    def __init__(
        self, redis_id: bytes, actor_name: str, payload: bytes, partition: int = 0
    ) -> None:
        self.redis_id = redis_id
        self.actor_name = actor_name
        self.payload = payload
        self.partition = partition
        self.is_done = False
        self.error: Exception | None = None
        """Why it is not done and never will be."""
        self.is_settled = False
        """Whether Redis has been told."""

    @classmethod
    def decode(cls, redis_id: bytes, data: bytes, queue: str, partition: int = 0) -> Self | None:
        """Return the message that lies in a queue as `data`, None for what is no message of it.

        Dramatiq takes orders from a message's options (delay, callbacks); ours give none, so they
        are left out.
        """
        try:
            message: Message[None] = Message.decode(data)
        except UndecodableMessage:
            return None
        if message.queue_name != queue:
            return None
        return cls(redis_id, message.actor_name, message.args[0], partition)

    def done(self) -> None:
        """Note that the actor did what the message asks for."""
        self.is_done = True

    def fail(self, error: Exception) -> None:
        """Note why the message becomes a dead letter."""
        self.error = error

    @property
    def is_ended(self) -> bool:
        """Whether its actor has said how it ended."""
        return self.is_done or self.error is not None


class DeliveryBatch(MessageProxy):
    """Deliveries for one actor from one partition: one message to Dramatiq's threads, one call.

    Each ends by itself. Dramatiq acknowledges a message whose failure it could not handle, and
    knows one end for all; so what it says is not asked. `error` is what the call itself ended with,
    which counts for the deliveries that have not ended.
    """

    def __init__(
        self, source: PartitionQueue, queue: str, actor_name: str, deliveries: Sequence[Delivery]
    ) -> None:
        message: Message[None] = Message(queue, actor_name, (deliveries,), {}, {})
        super().__init__(message)
        self.source = source
        self.deliveries = deliveries
        self.error: BaseException | None = None

    def stuff_exception(self, exception: BaseException) -> None:
        """Note what the call ended with."""
        super().stuff_exception(exception)
        self.error = exception
