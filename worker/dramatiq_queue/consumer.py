"""The consumer of a queue, in place of Dramatiq's own; README.md here lists how it differs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Container, Iterable, Sequence

import redis
from dramatiq import Consumer, MessageProxy

from job_store.cluster import NotServedHere
from job_store.queues import Fetched
from job_store.replication import NotConfirmed
from mesh.logs import logger
from worker.dramatiq_queue.dead_letter import UNDECODABLE, DeadLetter
from worker.dramatiq_queue.delivery import Delivery, DeliveryBatch
from worker.dramatiq_queue.partition_queue import PartitionQueue
from worker.metrics import JOBS
from worker.waiting import Interrupted, Stop

log = logger("worker.consumer")

BATCH_BYTES = 512 * 1024
"""Most bytes of the messages that are fetched together; as much as one job may have."""
LINGER_SECONDS = 0.08
"""What comes within this time of a fetch that took all waits, and shares the next batch."""
AWAIT_SECONDS = 2.0
"""The longest wait for a message in one call; a stop takes as long. Redis may end it a turn of its
clock later (`hz`), and answers within three seconds all the same."""
EMPTY_SECONDS = 0.25
"""Between two looks at a partition in which nothing waited, where there are several."""
SILENT_SECONDS = 1.0
"""After which a partition that did not answer is asked again."""


class QueueConsumer(Consumer):
    """Consumes one queue of Dramatiq's in all partitions, by batches of at most `most` messages.

    `actors` are the names of those that there are, `prefetch` how many batches may be in hand at a
    time. An error of Redis ends the process where messages were on their way: after it nobody knows
    which of them Redis holds as fetched by this worker. A partition that does not even tell whether
    something waits is left alone for a moment, and the others go on.
    """

    def __init__(
        self,
        queue: str,
        partitions: Sequence[PartitionQueue],
        actors: Container[str],
        prefetch: int,
        most: int,
        stop: Stop,
    ) -> None:
        self._queue = queue
        self._partitions = partitions
        self._round = deque(partitions)
        """The partitions, the next one to visit first."""
        self._actors = actors
        self._prefetch = prefetch
        self._most = most
        self._stop = stop
        self._fetched: deque[DeliveryBatch] = deque()
        self._in_hand: dict[str, DeliveryBatch] = {}
        self._unknown_actors: set[str] = set()
        self._released = threading.Event()

    def unaccounted(self) -> set[bytes]:
        """Return the ids that Redis says we have and we do not know of.

        An id may be on its way to us; one that stays is lost until this process ends. Nothing is
        known of a partition that does not answer, or from which something is being fetched: what no
        replica confirms is given back and fetched anew, again and again. A partition that counted
        nothing as ours, and from which nothing was fetched since, is not asked.
        """
        missing: set[bytes] = set()
        for source in self._partitions:
            if source.is_fetching or not source.may_hold:
                continue
            # The next fetch sets it again.
            source.may_hold = False
            try:
                found = self._unaccounted(source)
            except redis.RedisError:
                # The next visit meets the same error, and knows what to do.
                source.may_hold = True
                continue
            if not source.is_fetching:
                missing |= found
        return missing

    def _unaccounted(self, source: PartitionQueue) -> set[bytes]:
        fetched = source.fetched()
        if fetched:
            source.may_hold = True
        fetched.difference_update(source.held.all())
        for batch in list(self._in_hand.values()):
            fetched.difference_update([each.redis_id for each in batch.deliveries])
        return fetched

    def __next__(self) -> MessageProxy | None:
        for _ in self._partitions:
            if self._fetched:
                break
            self._visit(self._round[0])
            self._round.rotate(-1)
        if self._fetched:
            return self._fetched.popleft()
        self._pause()
        return None

    def ack(self, message: MessageProxy) -> None:
        """Settle a batch, each message by its own end.

        What is done is taken off the queue, what never will be becomes a dead letter, and what the
        stop of the process interrupted is given back: it is in the queue under its own id, in one
        step.
        """
        batch = _batch(message)
        if isinstance(batch.error, redis.RedisError):
            self._stop.crash("Redis did not answer about jobs in hand", batch.error)
        done, given_back = [], []
        for each in batch.deliveries:
            if each.is_done:
                done.append(each.redis_id)
            elif each.error is None and isinstance(batch.error, Interrupted):
                given_back.append(each.redis_id)
            else:
                self._make_dead_letter(batch.source, each, each.error or batch.error)
        if done:
            JOBS.labels(batch.actor_name, "done").inc(len(done))
            self._acknowledge(batch.source, done)
        if given_back:
            JOBS.labels(batch.actor_name, "given_back").inc(len(given_back))
            self._give_back(batch.source, given_back)
        self._release(batch)

    def nack(self, message: MessageProxy) -> None:
        """Settle a batch, as `ack` does."""
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put batches back into the queue."""
        for batch in map(_batch, messages):
            self._give_back(batch.source, [each.redis_id for each in batch.deliveries])
            self._release(batch)

    def close(self) -> None:
        """Give back what is held."""
        super().close()
        for source in self._partitions:
            self._pass_on(source, source.held.all())

    @property
    def _has_room(self) -> bool:
        return len(self._in_hand) < self._prefetch and not self._stop.asked

    def _visit(self, source: PartitionQueue) -> None:
        """Fetch a batch if there is room for it, and show that we are alive."""
        self._pass_on(source, source.held.due())
        now = time.monotonic()
        try:
            if now >= source.next_heartbeat:
                source.show_life()
                source.next_heartbeat = now + source.heartbeat_seconds
            if not self._has_room or now < source.next_fetch or self._is_awaited(source):
                return
            if self._is_looked_at_first(source) and not source.stored.waiting():
                source.is_empty = True
                source.next_fetch = now + EMPTY_SECONDS
                self._hear(source)
                return
            source.connect()
        except redis.RedisError as error:
            self._leave_alone(source, error)
            return
        self._fetch(source)

    def _is_looked_at_first(self, source: PartitionQueue) -> bool:
        """Return whether to look before a fetch.

        Looking is no write, so nothing is on its way when there is no answer.
        """
        return source.is_silent or (source.is_empty and len(self._partitions) > 1)

    def _is_awaited(self, source: PartitionQueue) -> bool:
        """Return whether to fetch only when a call that waits for a message says that there is one.

        No call can wait for several partitions, as each may be on another Redis.
        """
        return source.is_empty and not source.is_silent and len(self._partitions) == 1

    def _hear(self, source: PartitionQueue) -> None:
        if source.is_silent:
            source.is_silent = False
            log.info("partition answers", queue=self._queue, partition=source.number)

    def _leave_alone(self, source: PartitionQueue, error: redis.RedisError) -> None:
        if not source.is_silent:
            log.warning(
                "partition does not answer",
                queue=self._queue,
                partition=source.number,
                error=type(error).__name__,
            )
        source.is_silent = True
        source.next_fetch = source.next_heartbeat = time.monotonic() + SILENT_SECONDS

    def _pause(self) -> None:
        """Wait for a reason to go on: a message, the end of a linger, room."""
        source = self._partitions[0]
        if not self._has_room:
            self._released.wait(LINGER_SECONDS)
            self._released.clear()
        elif self._is_awaited(source):
            self._await_message(source)
        else:
            due = min(min(each.next_fetch, each.next_heartbeat) for each in self._partitions)
            time.sleep(max(0.0, due - time.monotonic()))

    def _await_message(self, source: PartitionQueue) -> None:
        """Wait for a message, at most until it is time for a sign of life."""
        left = source.next_heartbeat - time.monotonic()
        if left <= 0:
            return
        try:
            source.is_empty = not source.stored.await_message(min(AWAIT_SECONDS, left))
        except redis.exceptions.OutOfMemoryError:
            source.is_empty = False
            time.sleep(LINGER_SECONDS)
        except redis.RedisError as error:
            # No message was on its way.
            self._leave_alone(source, error)

    def _fetch(self, source: PartitionQueue) -> None:
        source.is_fetching = source.may_hold = True
        try:
            self._fetch_from(source)
        finally:
            source.is_fetching = False

    def _fetch_from(self, source: PartitionQueue) -> None:
        try:
            fetched = source.fetch(self._most, BATCH_BYTES)
        except NotConfirmed as error:
            # A failover may undo what it stands for, and a row that is written by then would be
            # there a second time when the caller repeats the call.
            self._give_back(source, sorted(self._unaccounted(source)))
            self._leave_alone(source, error)
        except (redis.ResponseError, NotServedHere) as error:
            # It was refused, so nothing was fetched.
            self._leave_alone(source, error)
        except redis.RedisError as error:
            self._stop.crash("Redis did not answer a fetch", error)
        else:
            self._hear(source)
            self._take(source, fetched)

    def _take(self, source: PartitionQueue, fetched: Fetched) -> None:
        for_actors: dict[str, list[Delivery]] = {}
        later: list[Delivery] = []
        undecodable: list[Delivery] = []
        gone: list[bytes] = []
        for redis_id, data in fetched.messages:
            if data is None:
                # It was in the queue twice; the message is done.
                gone.append(redis_id)
                continue
            delivery = Delivery.decode(redis_id, data, self._queue, source.number)
            if delivery is None:
                undecodable.append(Delivery(redis_id, "?", b""))
            elif delivery.actor_name in self._actors:
                for_actors.setdefault(delivery.actor_name, []).append(delivery)
            else:
                later.append(delivery)
        for actor_name, deliveries in for_actors.items():
            batch = DeliveryBatch(source, self._queue, actor_name, deliveries)
            self._in_hand[batch.message_id] = batch
            self._fetched.append(batch)
        passed_on = self._hold(source, later)
        for delivery in undecodable:
            self._make_dead_letter(source, delivery, DeadLetter(UNDECODABLE))
        if gone:
            self._acknowledge(source, gone)
        source.is_empty = not fetched.messages
        # What is passed on is behind what still waits, and must not go round without a pause.
        if (fetched.messages and not fetched.waiting) or passed_on:
            source.next_fetch = time.monotonic() + LINGER_SECONDS

    def _hold(self, source: PartitionQueue, deliveries: Sequence[Delivery]) -> bool:
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
            if not source.held.hold(delivery.redis_id):
                too_many.append(delivery.redis_id)
        self._pass_on(source, too_many)
        return bool(too_many)

    def _pass_on(self, source: PartitionQueue, redis_ids: Sequence[bytes]) -> None:
        """Put messages that this worker cannot carry out behind the others in the queue."""
        if not redis_ids:
            return
        self._give_back(source, redis_ids)
        source.held.release(redis_ids)
        JOBS.labels("?", "passed_on").inc(len(redis_ids))

    def _give_back(self, source: PartitionQueue, redis_ids: Sequence[bytes]) -> None:
        if not redis_ids:
            return
        try:
            source.requeue(redis_ids)
        except redis.RedisError as error:
            self._stop.crash("Redis did not take messages back", error)

    def _acknowledge(self, source: PartitionQueue, redis_ids: Sequence[bytes]) -> None:
        try:
            source.acknowledge(redis_ids)
        except redis.RedisError as error:
            self._stop.crash("Redis did not confirm an acknowledgement", error)

    def _make_dead_letter(
        self, source: PartitionQueue, delivery: Delivery, error: BaseException | None
    ) -> None:
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
            source.set_aside(delivery.redis_id, reason, failed)
        except redis.RedisError as failure:
            self._stop.crash("Redis did not take a dead letter", failure)

    def _release(self, batch: DeliveryBatch) -> None:
        self._in_hand.pop(batch.message_id)
        self._released.set()


def _batch(message: MessageProxy) -> DeliveryBatch:
    assert isinstance(message, DeliveryBatch)  # noqa: S101
    return message
