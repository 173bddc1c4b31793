"""The consumer of a queue, in place of Dramatiq's own; README.md here lists how it differs."""

from __future__ import annotations

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
from worker.dramatiq_queue.delivery import Delivery, DeliveryBatch
from worker.dramatiq_queue.held_messages import HeldMessages
from worker.metrics import JOBS
from worker.waiting import Interrupted, Stop

log = logger("worker.consumer")

BATCH_BYTES = 512 * 1024
"""Most bytes of the messages that are fetched together; as much as one job may have."""


LINGER_SECONDS = 0.08
"""What comes within this time of a fetch that took all waits, and shares the next batch."""
AWAIT_SECONDS = 1.0
"""The longest wait for a message in one call; a stop takes as long."""


class QueueConsumer(Consumer):
    """Consumes one queue of Dramatiq's by batches of at most `most` messages.

    `prefetch` is how many batches may be in hand at a time, `heartbeat_seconds` the time between
    two signs of life. Any error of Redis ends the process: after it nobody knows which messages
    Redis holds as fetched by this worker.
    """

    def __init__(
        self,
        broker: RedisBroker,
        queue: str,
        prefetch: int,
        most: int,
        heartbeat_seconds: float,
        letters: DeadLetters,
        stop: Stop,
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._stored = StoredQueue(broker.client, queue)
        self._prefetch = prefetch
        self._most = most
        self._heartbeat_seconds = heartbeat_seconds
        self._letters = letters
        self._stop = stop
        self._fetched: deque[DeliveryBatch] = deque()
        self._in_hand: dict[str, DeliveryBatch] = {}
        self._held = HeldMessages()
        self._unknown_actors: set[str] = set()
        self._is_empty = False
        """Whether the last fetch brought nothing."""
        self._next_fetch = 0.0
        self._next_heartbeat = 0.0
        self._released = threading.Event()

    def unaccounted(self) -> set[bytes]:
        """Return the ids that Redis says we have and we do not know of. Raises redis.RedisError.

        An id may be on its way to us; one that stays is lost until this process ends.
        """
        fetched = self._stored.fetched(self._broker.broker_id)
        fetched.difference_update(self._held.all())
        for batch in list(self._in_hand.values()):
            fetched.difference_update([each.redis_id for each in batch.deliveries])
        return fetched

    def __next__(self) -> MessageProxy | None:
        if not self._fetched:
            try:
                self._contact()
            except redis.RedisError as error:
                self._stop.crash("Redis did not answer a fetch", error)
        if self._fetched:
            return self._fetched.popleft()
        try:
            self._pause()
        except redis.RedisError as error:
            self._stop.crash("Redis did not answer", error)
        return None

    def ack(self, message: MessageProxy) -> None:
        """Settle a batch, each message by its own end.

        What is done is taken off the queue, what never will be becomes a dead letter, and what the
        stop of the process interrupted is given back: it is in the queue under its own id, in one
        step.
        """
        batch = _batch(message)
        done, given_back = [], []
        for each in batch.deliveries:
            if each.is_done:
                done.append(each.redis_id)
            elif each.error is None and isinstance(batch.error, Interrupted):
                given_back.append(each.redis_id)
            else:
                self._make_dead_letter(each, each.error or batch.error)
        if done:
            JOBS.labels(batch.actor_name, "done").inc(len(done))
            try:
                self._stored.acknowledge(self._broker.broker_id, done)
            except redis.RedisError as error:
                self._stop.crash("Redis did not confirm an acknowledgement", error)
        if given_back:
            JOBS.labels(batch.actor_name, "given_back").inc(len(given_back))
            self._give_back(given_back)
        self._release(batch)

    def nack(self, message: MessageProxy) -> None:
        """Settle a batch, as `ack` does."""
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put batches back into the queue."""
        for batch in map(_batch, messages):
            self._give_back([each.redis_id for each in batch.deliveries])
            self._release(batch)

    def close(self) -> None:
        """Give back what is held."""
        super().close()
        try:
            self._pass_on(self._held.all())
        except redis.RedisError as error:
            self._stop.crash("Redis did not take messages back", error)

    @property
    def _has_room(self) -> bool:
        return len(self._in_hand) < self._prefetch and not self._stop.asked

    def _contact(self) -> None:
        """Fetch a batch if there is room for it, and show that we are alive."""
        self._pass_on(self._held.due())
        if time.monotonic() >= self._next_heartbeat:
            # It is a heartbeat, and brings back what dead workers held.
            self._broker.do_qsize(self._queue)
            self._next_heartbeat = time.monotonic() + self._heartbeat_seconds
        if self._has_room and time.monotonic() >= self._next_fetch:
            self._fetch()

    def _pause(self) -> None:
        """Wait for a reason to go on: a message, the end of a linger, room."""
        if not self._has_room:
            self._released.wait(LINGER_SECONDS)
            self._released.clear()
        elif self._is_empty:
            try:
                self._stored.await_message(AWAIT_SECONDS)
            except redis.exceptions.OutOfMemoryError:
                time.sleep(LINGER_SECONDS)
        else:
            time.sleep(max(0.0, self._next_fetch - time.monotonic()))

    def _fetch(self) -> None:
        fetched = self._stored.fetch(self._broker.broker_id, self._most, BATCH_BYTES)
        for_actors: dict[str, list[Delivery]] = {}
        later: list[Delivery] = []
        undecodable: list[Delivery] = []
        gone: list[bytes] = []
        for redis_id, data in fetched.messages:
            if data is None:
                # It was in the queue twice; the message is done.
                gone.append(redis_id)
            elif (delivery := Delivery.decode(redis_id, data, self._queue)) is None:
                undecodable.append(Delivery(redis_id, "?", b""))
            elif delivery.actor_name in self._broker.actors:
                for_actors.setdefault(delivery.actor_name, []).append(delivery)
            else:
                later.append(delivery)
        for actor_name, deliveries in for_actors.items():
            batch = DeliveryBatch(self._queue, actor_name, deliveries)
            self._in_hand[batch.message_id] = batch
            self._fetched.append(batch)
        passed_on = self._hold(later)
        for delivery in undecodable:
            self._make_dead_letter(delivery, DeadLetter(UNDECODABLE))
        if gone:
            self._stored.acknowledge(self._broker.broker_id, gone)
        self._is_empty = not fetched.messages
        # What is passed on is behind what still waits, and must not go round without a pause.
        if (fetched.messages and not fetched.waiting) or passed_on:
            self._next_fetch = time.monotonic() + LINGER_SECONDS

    def _hold(self, deliveries: Sequence[Delivery]) -> bool:
        """Hold messages for actors that this worker does not have, and pass on what is too much.

        Returns whether any was passed on.
        """
        too_many = []
        for delivery in deliveries:
            if delivery.actor_name not in self._unknown_actors:
                self._unknown_actors.add(delivery.actor_name)
                log.warning(
                    "unknown actor",
                    queue=self._queue,
                    actor=delivery.actor_name,
                    message_id=delivery.redis_id.decode(errors="replace"),
                    advice="Start workers of the version that ingest has; the message waits.",
                )
            if not self._held.hold(delivery.redis_id):
                too_many.append(delivery.redis_id)
        self._pass_on(too_many)
        return bool(too_many)

    def _pass_on(self, redis_ids: Sequence[bytes]) -> None:
        """Put messages that this worker cannot carry out behind the others in the queue."""
        if not redis_ids:
            return
        self._broker.do_requeue(self._queue, *redis_ids)
        self._held.release(redis_ids)
        JOBS.labels("?", "passed_on").inc(len(redis_ids))

    def _give_back(self, redis_ids: Sequence[bytes]) -> None:
        try:
            self._broker.do_requeue(self._queue, *redis_ids)
        except redis.RedisError as error:
            self._stop.crash("Redis did not take messages back", error)

    def _make_dead_letter(self, delivery: Delivery, error: BaseException | None) -> None:
        """Set a message aside. `error` is None when its actor did not say how it ended."""
        if isinstance(error, DeadLetter):
            reason, failed, unexpected = error.reason, error.failed, None
        else:
            reason, failed, unexpected = "UNEXPECTED", 0, error
        log.error(
            "dead letter",
            message_id=delivery.redis_id.decode(errors="replace"),
            queue=self._queue,
            actor=delivery.actor_name,
            reason=reason,
            failed=failed,
            exc_info=unexpected,
        )
        JOBS.labels(delivery.actor_name, "dead_letter").inc()
        try:
            self._letters.note(delivery.redis_id, reason, failed)
            self._broker.do_nack(self._queue, delivery.redis_id)
        except redis.RedisError as failure:
            self._stop.crash("Redis did not take a dead letter", failure)

    def _release(self, batch: DeliveryBatch) -> None:
        self._in_hand.pop(batch.message_id)
        self._released.set()


def _batch(message: MessageProxy) -> DeliveryBatch:
    assert isinstance(message, DeliveryBatch)  # noqa: S101
    return message
