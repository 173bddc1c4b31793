"""The consumer of a queue, in place of Dramatiq's own; README.md here lists how it differs."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

import redis
from dramatiq import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker

from job_store.dead_letters import DeadLetters
from job_store.queues import StoredQueue
from mesh.logs import logger
from worker.dramatiq_queue.dead_letter import UNDECODABLE, DeadLetter
from worker.dramatiq_queue.delivery import Delivery
from worker.dramatiq_queue.held_messages import HeldMessages
from worker.metrics import JOBS
from worker.waiting import Interrupted, Stop

log = logger("worker.consumer")

HEARTBEAT_SECONDS = 1.0
SHORTEST_POLL_SECONDS = 0.005


class QueueConsumer(Consumer):
    """Consumes one queue by the commands of Dramatiq's dispatch.lua.

    `prefetch` is how many messages may be in hand at a time, `poll_seconds` the longest wait
    between two looks at an empty queue. Any error of Redis ends the process: after it nobody knows
    which messages Redis holds as fetched by this worker.
    """

    def __init__(
        self,
        broker: RedisBroker,
        queue: str,
        prefetch: int,
        poll_seconds: float,
        letters: DeadLetters,
        stop: Stop,
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._stored = StoredQueue(broker.client, queue)
        self._prefetch = prefetch
        self._poll_seconds = poll_seconds
        self._letters = letters
        self._stop = stop
        self._fetched: deque[Delivery] = deque()
        self._in_hand: set[bytes] = set()
        """Ids of all messages that Redis counts as fetched by us, those that are held included."""
        self._held = HeldMessages()
        self._unknown_actors: set[str] = set()
        self._misses = 0
        self._last_contact = 0.0
        self._released = threading.Event()

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
        if self._released.wait(random.uniform(wait / 2, wait)):  # noqa: S311
            self._released.clear()
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
        self._make_dead_letter(delivery.redis_id, delivery.actor_name, reason, failed, unexpected)

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
            self._pass_on(self._held.all())
        except redis.RedisError as error:
            self._stop.crash("Redis did not take messages back", error)

    def _contact(self) -> None:
        """Fetch as much as there is room for, or at least show that we are alive."""
        self._pass_on(self._held.due())
        room = self._prefetch - (len(self._in_hand) - len(self._held))
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
            delivery = None if data is None else Delivery.decode(data, self._queue)
            if delivery is None:
                undecodable.append(data)
                continue
            self._in_hand.add(delivery.redis_id)
            if delivery.actor_name in self._broker.actors:
                self._fetched.append(delivery)
            else:
                self._hold(delivery)
        for data in undecodable:
            self._remove_undecodable(data)

    def _hold(self, delivery: Delivery) -> None:
        """Hold a message for an actor that this worker does not have, or pass it on at once."""
        if delivery.actor_name not in self._unknown_actors:
            self._unknown_actors.add(delivery.actor_name)
            log.warning(
                "unknown actor",
                queue=self._queue,
                actor=delivery.actor_name,
                message_id=delivery.message_id,
                advice="Start workers of the version that ingest has; the message waits.",
            )
        if self._held.hold(delivery.redis_id):
            # There may be others behind it.
            self._misses = 0
        else:
            self._pass_on([delivery.redis_id])

    def _pass_on(self, redis_ids: Sequence[bytes]) -> None:
        """Put messages that this worker cannot carry out behind the others in the queue."""
        if not redis_ids:
            return
        self._broker.do_requeue(self._queue, *redis_ids)
        self._held.release(redis_ids)
        self._in_hand.difference_update(redis_ids)
        JOBS.labels("?", "passed_on").inc(len(redis_ids))

    def _remove_undecodable(self, data: bytes | None) -> None:
        """Make a dead letter of a message that cannot be decoded, so that the others flow.

        A fetch returns messages without their ids, so the id is found by what lies under it.
        """
        for redis_id in self.unaccounted():
            if self._stored.message(redis_id) == data:
                if data is None:
                    # An id that was in the queue twice: its message is done and gone.
                    self._broker.do_requeue(self._queue, redis_id)
                else:
                    self._make_dead_letter(redis_id, "?", UNDECODABLE, 0, None)
                return

    def _make_dead_letter(
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
        self._released.set()


def _delivery(message: MessageProxy) -> Delivery:
    assert isinstance(message, Delivery)  # noqa: S101
    return message
