"""One message in a worker's hands."""

from __future__ import annotations

from typing import Self

from dramatiq import Message, MessageProxy
from dramatiq.errors import DecodeError as UndecodableMessage

from worker.waiting import Interrupted


class Delivery(MessageProxy):
    """A message that was fetched, and how its actor ended.

    Dramatiq acknowledges a message whose failure it could not handle. So failure is noted here, by
    the call that hands over the exception, and not by middleware, whose own errors are swallowed.
    """

    def __init__(self, message: Message[None], redis_id: bytes) -> None:
        super().__init__(message)
        self.redis_id = redis_id
        self.error: BaseException | None = None

    @classmethod
    def decode(cls, data: bytes, queue: str) -> Self | None:
        """Return the message that lies in a queue as `data`.

        Returns None for anything that Dramatiq could not carry to its end.
        """
        try:
            message: Message[None] = Message.decode(data)
        except UndecodableMessage:
            return None
        redis_id = message.options.get("redis_message_id")
        if message.queue_name != queue or not isinstance(redis_id, str):
            return None
        # Dramatiq takes orders from options (delay, callbacks); ours give none.
        options = {"redis_message_id": redis_id}
        plain: Message[None] = Message(
            message.queue_name,
            message.actor_name,
            message.args,
            message.kwargs,
            options,
            message.message_id,
            message.message_timestamp,
        )
        return cls(plain, redis_id.encode())

    def stuff_exception(self, exception: BaseException) -> None:
        """Note how the actor ended; anything but a stop makes the message a dead letter."""
        super().stuff_exception(exception)
        self.error = exception
        if not isinstance(exception, Interrupted):
            self.fail()
