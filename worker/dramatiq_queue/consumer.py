"""The consuming half of a Dramatiq queue on Redis, which cannot lose a message.

Dramatiq's own consumer acknowledges what failed, keeps polling after a reply was lost, and stops
sending heartbeats while all its threads are busy. This one speaks the same protocol (dispatch.lua)
and differs in just that.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

import redis
from dramatiq import Consumer, Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DecodeError as UndecodableMessage

from job_store.dead_letters import DeadLetters
from job_store.queues import StoredQueue
from mesh.logs import logger
from worker.dramatiq_queue.dead_letter import UNDECODABLE, DeadLetter
from worker.metrics import JOBS
from worker.waiting import Interrupted, Stop

log = logger("worker.consumer")

HEARTBEAT_SECONDS = 1.0
SHORTEST_POLL_SECONDS = 0.005

HELD_SECONDS = 1.0
"""How long a message for an actor that this worker does not have is kept from the queue."""
MOST_HELD = 1000


class Delivery(MessageProxy):
    """One message in hand, and what became of it.

    Dramatiq acknowledges a message whose failure it could not handle. So failure is noted here, by
    the call that hands over the exception, and not by middleware whose own errors are swallowed.
    """

    def __init__(self, message: Message[None], redis_id: bytes) -> None:
        super().__init__(message)
        self.redis_id = redis_id
        self.error: BaseException | None = None

    def stuff_exception(self, exception: BaseException) -> None:
        """Note how the actor ended; anything but a stop makes the message a dead letter."""
        super().stuff_exception(exception)
        self.error = exception
        if not isinstance(exception, Interrupted):
            self.fail()


class QueueConsumer(Consumer):
    """Consumes one queue. `most` is how many messages may be in hand at a time.

    Any error of Redis ends the process: after it nobody knows which messages Redis holds as
    fetched by this worker.
    """

    def __init__(
        self,
        broker: RedisBroker,
        queue: str,
        most: int,
        poll_seconds: float,
        letters: DeadLetters,
        stop: Stop,
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._stored = StoredQueue(broker.client, queue)
        self._most = most
        self._poll_seconds = poll_seconds
        self._letters = letters
        self._stop = stop
        self._fetched: deque[Delivery] = deque()
        self._in_hand: set[bytes] = set()
        self._held: dict[bytes, float] = {}
        """Messages for actors of a later version, which are in hand too, and until when."""
        self._unknown_actors: set[str] = set()
        self._misses = 0
        self._last_contact = 0.0
        self._room = threading.Event()

    def unaccounted(self) -> set[bytes]:
        """Return the ids that Redis says we have and we do not know of. Raises redis.RedisError.

        An id may be on its way to us; one that stays is lost until this process ends.
        """
        return self._stored.fetched(self._broker.broker_id) - self._in_hand

    def __next__(self) -> MessageProxy | None:
        if not self._fetched:
            try:
                self._contact()
            except redis.RedisError as error:
                self._stop.crash("Redis did not answer a fetch", error)
        if self._fetched:
            self._misses = 0
            return self._fetched.popleft()
        wait = min(self._poll_seconds, SHORTEST_POLL_SECONDS * 2.0**self._misses)
        self._misses = min(self._misses + 1, 20)
        if self._room.wait(random.uniform(wait / 2, wait)):  # noqa: S311
            self._room.clear()
            self._misses = 0
        return None

    def ack(self, message: MessageProxy) -> None:
        """Take a message off the queue, or give it back when the process stops before it is done.

        Given back it is in the queue under its own id, in one step.
        """
        delivery = _delivery(message)
        if isinstance(delivery.error, Interrupted):
            JOBS.labels(delivery.actor_name, "given_back").inc()
            self.requeue([delivery])
            return
        JOBS.labels(delivery.actor_name, "done").inc()
        try:
            self._broker.do_ack(self._queue, delivery.redis_id)
        except redis.RedisError as error:
            self._stop.crash("Redis did not confirm an acknowledgement", error)
        self._release(delivery.redis_id)

    def nack(self, message: MessageProxy) -> None:
        """Make a message a dead letter."""
        delivery = _delivery(message)
        error = delivery.error
        if isinstance(error, DeadLetter):
            reason, failed, unexpected = error.reason, error.failed, None
        else:
            reason, failed, unexpected = "UNEXPECTED", 0, error
        self._bury(delivery.redis_id, delivery.actor_name, reason, failed, unexpected)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put messages back into the queue."""
        deliveries = [_delivery(message) for message in messages]
        if not deliveries:
            return
        try:
            self._broker.do_requeue(self._queue, *(each.redis_id for each in deliveries))
        except redis.RedisError as error:
            self._stop.crash("Redis did not take messages back", error)
        for each in deliveries:
            self._release(each.redis_id)

    def close(self) -> None:
        """Give back what is held."""
        super().close()
        try:
            self._pass_on(list(self._held))
        except redis.RedisError as error:
            self._stop.crash("Redis did not take messages back", error)

    def _contact(self) -> None:
        """Fetch as much as there is room for, or at least show that we are alive."""
        now = time.monotonic()
        self._pass_on([redis_id for redis_id, until in self._held.items() if until <= now])
        room = self._most - (len(self._in_hand) - len(self._held))
        # Every command of a broker is a write; asking first keeps an idle worker out of Redis' log.
        if room > 0 and not self._stop.asked and self._stored.waiting() > 0:
            self._fetch(room)
        elif time.monotonic() - self._last_contact > HEARTBEAT_SECONDS:
            # It is a heartbeat, and brings back what dead workers held.
            self._broker.do_qsize(self._queue)
        else:
            return
        self._last_contact = time.monotonic()

    def _fetch(self, room: int) -> None:
        undecodable: list[bytes | None] = []
        for data in self._broker.do_fetch(self._queue, room):
            delivery = None if data is None else self._decode(data)
            if delivery is None:
                undecodable.append(data)
                continue
            self._in_hand.add(delivery.redis_id)
            if delivery.actor_name in self._broker.actors:
                self._fetched.append(delivery)
            else:
                self._hold(delivery)
        for data in undecodable:
            self._set_aside(data)

    def _hold(self, delivery: Delivery) -> None:
        """Keep a message for an actor that this worker does not have from the queue for a while.

        It is for workers of a later version, which a deployment starts soon. Held, it neither goes
        round as fast as it can nor takes the place of messages that can be carried out.
        """
        if delivery.actor_name not in self._unknown_actors:
            self._unknown_actors.add(delivery.actor_name)
            log.warning(
                "unknown actor",
                queue=self._queue,
                actor=delivery.actor_name,
                message_id=delivery.message_id,
                advice="Start workers of the version that ingest has; the message waits.",
            )
        if len(self._held) < MOST_HELD:
            # There may be others behind it.
            self._misses = 0
            self._held[delivery.redis_id] = time.monotonic() + HELD_SECONDS
        else:
            self._pass_on([delivery.redis_id])

    def _pass_on(self, redis_ids: Sequence[bytes]) -> None:
        """Put messages that this worker cannot carry out behind the others in the queue."""
        if not redis_ids:
            return
        self._broker.do_requeue(self._queue, *redis_ids)
        for redis_id in redis_ids:
            self._held.pop(redis_id, None)
            self._in_hand.discard(redis_id)
        JOBS.labels("?", "passed_on").inc(len(redis_ids))

    def _decode(self, data: bytes) -> Delivery | None:
        """Return the message, or None for anything that Dramatiq could not carry to its end."""
        try:
            message: Message[None] = Message.decode(data)
        except UndecodableMessage:
            return None
        redis_id = message.options.get("redis_message_id")
        if message.queue_name != self._queue or not isinstance(redis_id, str):
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
        return Delivery(plain, redis_id.encode())

    def _set_aside(self, data: bytes | None) -> None:
        """Make a dead letter of a message that cannot be decoded, so that the others flow.

        A fetch returns messages without their ids, so the id is found by what lies under it.
        """
        for redis_id in self.unaccounted():
            if self._stored.message(redis_id) == data:
                if data is None:
                    # An id that was in the queue twice: its message is done and gone.
                    self._broker.do_requeue(self._queue, redis_id)
                else:
                    self._bury(redis_id, "?", UNDECODABLE, 0, None)
                return

    def _bury(
        self,
        redis_id: bytes,
        actor: str,
        reason: str,
        failed: int,
        unexpected: BaseException | None,
    ) -> None:
        log.error(
            "dead letter",
            message_id=redis_id.decode(errors="replace"),
            queue=self._queue,
            actor=actor,
            reason=reason,
            failed=failed,
            exc_info=unexpected,
        )
        JOBS.labels(actor, "dead_letter").inc()
        try:
            self._letters.note(redis_id, reason, failed)
            self._broker.do_nack(self._queue, redis_id)
        except redis.RedisError as error:
            self._stop.crash("Redis did not take a dead letter", error)
        self._release(redis_id)

    def _release(self, redis_id: bytes) -> None:
        self._in_hand.discard(redis_id)
        self._room.set()


def _delivery(message: MessageProxy) -> Delivery:
    assert isinstance(message, Delivery)  # noqa: S101
    return message
