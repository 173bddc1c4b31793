"""The consumer of a queue, in place of Dramatiq's own; README.md here lists how it differs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

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
"""After which a partition that did not answer, or did not confirm, is asked again."""
LATE_SECONDS = 150.0
"""For which a fetch that was given up may still arrive at Redis: for so long a system goes on
sending what a closed connection had to send."""
CAREFUL_SECONDS = 5.0
"""For which no partition is trusted to answer at once after another one did not: several lie on one
Redis, and each would be waited for in turn."""


class QueueConsumer(Consumer):
    """Consumes one queue of Dramatiq's in all partitions, by batches of at most `most` messages.

    `actors` are the names of those that there are, `prefetch` how many batches may be in hand at a
    time. A partition that does not answer, or does not confirm, is left alone for a moment and then
    visited in a thread of its own, so that it holds up no other. An error of Redis ends nothing:
    what could not be settled stays in hand until its partition answers, and what was on its way is
    given back then.
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
        self._unsettled: dict[int, deque[DeliveryBatch]] = {
            each.number: deque() for each in partitions
        }
        """By partition, the batches in hand that Redis could not be told the end of."""
        self._unknown_actors: set[str] = set()
        self._threads = ThreadPoolExecutor(max(1, len(partitions)), thread_name_prefix="visit")
        self._visits: dict[int, Future[None]] = {}
        self._careful_until = float("-inf")
        self._changed = threading.Event()

    def unaccounted(self) -> set[bytes]:
        """Return the ids that Redis says we have and we do not know of.

        An id may be on its way to us; one that stays is lost until this process ends. Nothing is
        known of a partition that does not answer, or of which it is not known what was fetched:
        that is given back as soon as it answers. A partition that counted nothing as ours, and from
        which nothing was fetched since, is not asked, unless a fetch from it was given up lately.
        """
        missing: set[bytes] = set()
        for source in self._partitions:
            if source.is_silent or not source.may_hold:
                continue
            # A fetch that begins after the look at `is_fetching` sets it again.
            source.may_hold = time.monotonic() < source.doubtful_until
            if source.is_fetching:
                source.may_hold = True
                continue
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
        self._changed.clear()
        for _ in self._partitions:
            if self._fetched:
                break
            self._attend(self._round[0])
            self._round.rotate(-1)
        if self._fetched:
            return self._fetched.popleft()
        self._pause()
        return None

    def ack(self, message: MessageProxy) -> None:
        """Settle a batch, each message by its own end; later, when its partition does not answer.

        What is done is taken off the queue, what never will be becomes a dead letter, and what the
        stop of the process or an error of Redis interrupted is given back: it is in the queue under
        its own id, in one step.
        """
        batch = _batch(message)
        try:
            if isinstance(batch.error, redis.RedisError):
                raise batch.error
            self._settle(batch)
        except redis.RedisError as error:
            log.warning(
                "jobs in hand wait for their partition",
                queue=self._queue,
                partition=batch.source.number,
                jobs=len(batch.deliveries),
                error=type(error).__name__,
            )
            self._unsettled[batch.source.number].append(batch)
            self._changed.set()
        else:
            self._release(batch)

    def nack(self, message: MessageProxy) -> None:
        """Settle a batch, as `ack` does."""
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Put batches back into the queue."""
        for batch in map(_batch, messages):
            batch.stuff_exception(Interrupted())
            self.ack(batch)

    def close(self) -> None:
        """Give back what is held. What Redis does not take goes to others: our heartbeat ends."""
        super().close()
        self._threads.shutdown()
        self.requeue(self._fetched)
        # First those that answer: the time to stop is short.
        for source in sorted(self._partitions, key=lambda each: each.is_silent):
            try:
                self._catch_up(source)
                self._pass_on(source, source.held.all())
            except redis.RedisError as error:
                self._leave_alone(source, error)

    @property
    def _has_room(self) -> bool:
        taken = len(self._in_hand)
        if taken >= self._prefetch:
            taken -= sum(map(len, self._unsettled.values()))
        return taken < self._prefetch and not self._stop.asked

    def _attend(self, source: PartitionQueue) -> None:
        """Visit a partition if it is due, in a thread of its own where it may hold up others."""
        visit = self._visits.get(source.number)
        if visit is not None:
            if not visit.done():
                return
            del self._visits[source.number]
            visit.result()
        if not self._is_due(source):
            return
        is_doubtful = (
            source.is_silent
            or bool(self._unsettled[source.number])
            or time.monotonic() < self._careful_until
        )
        if is_doubtful and len(self._partitions) > 1:
            visit = self._threads.submit(self._visit, source)
            self._visits[source.number] = visit
            visit.add_done_callback(lambda _: self._changed.set())
        else:
            self._visit(source)

    def _is_due(self, source: PartitionQueue) -> bool:
        now = time.monotonic()
        if source.is_silent:
            return now >= source.next_fetch
        return (
            now >= source.next_heartbeat
            or (self._has_room and now >= source.next_fetch)
            or bool(self._unsettled[source.number])
            or bool(source.held.due())
        )

    def _visit(self, source: PartitionQueue) -> None:
        """Show that we are alive, settle what is unsettled, and fetch a batch if there is room."""
        now = time.monotonic()
        try:
            if now >= source.next_heartbeat:
                source.show_life()
                source.next_heartbeat = now + source.heartbeat_seconds
            self._catch_up(source)
            self._pass_on(source, source.held.due())
            if not self._is_to_be_fetched_from(source, now):
                return
            source.connect()
        except redis.RedisError as error:
            self._leave_alone(source, error)
            return
        self._fetch(source)

    def _catch_up(self, source: PartitionQueue) -> None:
        """Settle what an error of Redis left open. Raises redis.RedisError while that lasts."""
        unsettled = self._unsettled[source.number]
        if not unsettled and not source.is_fetching:
            return
        while unsettled:
            self._settle(unsettled[0])
            self._release(unsettled.popleft())
        if source.is_fetching:
            self._give_back(source, sorted(self._unaccounted(source)))
            source.is_fetching = False
        if not source.is_silent:
            # What goes wrong again and again must not go round without a pause.
            source.next_fetch = time.monotonic() + SILENT_SECONDS

    def _is_to_be_fetched_from(self, source: PartitionQueue, now: float) -> bool:
        """Return whether there is room and something may wait; hear of a partition that is back."""
        if self._is_awaited(source):
            return False
        if not source.is_silent and (not self._has_room or now < source.next_fetch):
            return False
        if self._is_looked_at_first(source) and not source.stored.waiting():
            source.is_empty = True
            source.next_fetch = now + EMPTY_SECONDS
            self._hear(source)
            return False
        if not self._has_room:
            self._hear(source)
            return False
        return True

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
            self._careful_until = time.monotonic() + CAREFUL_SECONDS
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
            self._changed.wait(LINGER_SECONDS)
        elif self._is_awaited(source):
            self._await_message(source)
        else:
            now = time.monotonic()
            due = min(
                (
                    min(each.next_fetch, each.next_heartbeat)
                    for each in self._partitions
                    if each.number not in self._visits
                ),
                default=now + EMPTY_SECONDS,
            )
            self._changed.wait(max(0.0, due - now))

    def _await_message(self, source: PartitionQueue) -> None:
        """Wait for a message, at most until it is time for a sign of life."""
        left = source.next_heartbeat - time.monotonic()
        if left <= 0:
            return
        try:
            source.is_empty = not source.stored.await_message(min(AWAIT_SECONDS, left))
        except redis.exceptions.OutOfMemoryError:
            source.is_empty = False
            self._changed.wait(LINGER_SECONDS)
        except redis.RedisError as error:
            # No message was on its way.
            self._leave_alone(source, error)

    def _fetch(self, source: PartitionQueue) -> None:
        source.is_fetching = source.may_hold = True
        try:
            try:
                fetched = source.fetch(self._most, BATCH_BYTES)
            except (redis.ResponseError, NotServedHere):
                # It was refused, so nothing was fetched.
                source.is_fetching = False
                raise
            self._take(source, fetched)
        except redis.RedisError as error:
            # Nobody knows what was fetched; or it is known and not confirmed, so that a failover
            # may undo it, and a row that was written by then would be there a second time when the
            # caller repeats the call. Either way it is given back: now where Redis answers,
            # otherwise at a later visit.
            if source.is_fetching:
                source.doubtful_until = time.monotonic() + LATE_SECONDS
            self._leave_alone(source, error)
            if isinstance(error, NotConfirmed):
                with suppress(redis.RedisError):
                    self._catch_up(source)
        else:
            source.is_fetching = False
            self._hear(source)

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
            source.acknowledge(gone)
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
        if redis_ids:
            source.requeue(redis_ids)

    def _settle(self, batch: DeliveryBatch) -> None:
        """Settle what of a batch is not settled yet. Raises redis.RedisError; may be repeated."""
        done, given_back = [], []
        for each in batch.deliveries:
            if each.is_settled:
                continue
            if each.is_done:
                done.append(each)
            elif each.error is None and isinstance(batch.error, (Interrupted, redis.RedisError)):
                given_back.append(each)
            else:
                self._make_dead_letter(batch.source, each, each.error or batch.error)
                each.is_settled = True
        for ended, some, tell in (
            ("done", done, batch.source.acknowledge),
            ("given_back", given_back, batch.source.requeue),
        ):
            if some:
                tell([each.redis_id for each in some])
                JOBS.labels(batch.actor_name, ended).inc(len(some))
                for each in some:
                    each.is_settled = True

    def _make_dead_letter(
        self, source: PartitionQueue, delivery: Delivery, error: BaseException | None
    ) -> None:
        """Set a message aside. `error` is None when its actor did not say how it ended.

        Raises redis.RedisError.
        """
        if isinstance(error, DeadLetter):
            reason, failed, unexpected = error.reason, error.failed, None
        else:
            reason, failed, unexpected = "UNEXPECTED", 0, error
        source.set_aside(delivery.redis_id, reason, failed)
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

    def _release(self, batch: DeliveryBatch) -> None:
        self._in_hand.pop(batch.message_id)
        self._changed.set()


def _batch(message: MessageProxy) -> DeliveryBatch:
    assert isinstance(message, DeliveryBatch)  # noqa: S101
    return message
