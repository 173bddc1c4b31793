from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import redis
from dramatiq import Message

from job_store.cluster import NotServedHere
from job_store.envelope import use_envelopes
from job_store.queues import Fetched
from job_store.replication import NotConfirmed
from mesh.health import Unhealthy
from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.consumer import AWAIT_SECONDS, SILENT_SECONDS, QueueConsumer
from worker.dramatiq_queue.dead_letter import DeadLetter
from worker.dramatiq_queue.delivery import DeliveryBatch
from worker.dramatiq_queue.held_messages import HeldMessages
from worker.dramatiq_queue.partition_queue import PartitionQueue
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.waiting import Interrupted, Stop
from worker.watchdog import Watchdog


class Crash(BaseException):
    """Stands for the end of the process."""


class CrashingStop(Stop):
    def crash(self, reason: str, error: BaseException | None = None) -> None:
        raise Crash(reason)


class Source:
    """A queue in a partition that notes what is asked of it, and fails when told to.

    It stands for a PartitionQueue and for the StoredQueue in it.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.stored = self
        self.held = HeldMessages()
        self.is_empty = False
        self.is_fetching = False
        self.may_hold = True
        self.doubtful_until = -math.inf
        self.is_silent = False
        self.heartbeat_seconds = 1.0
        # The first one is sent at once otherwise.
        self.next_heartbeat = math.inf
        self.next_fetch = 0.0
        self.messages: list[tuple[bytes, bytes | None]] = []
        self.in_redis: set[bytes] = set()
        self.commands: list[tuple[Any, ...]] = []
        self.fetches = self.looks = 0
        self.fails: Exception | None = None
        self.is_connected = True

    def put(self, name: str, actor: str = "actor") -> None:
        options = {"redis_message_id": name, "eta": 1, "throws": "x"}
        message = Message[None]("q", actor, (b"payload",), {}, options, name)
        self.messages.append((name.encode(), message.encode()))

    def _called(self, name: str, *arguments: Any) -> None:
        if self.fails:
            raise self.fails
        self.commands.append((name, *arguments))

    def waiting(self) -> int:
        self._called("waiting")
        return len(self.messages)

    def fetched(self) -> set[bytes]:
        self.looks += 1
        if self.fails:
            raise self.fails
        return set(self.in_redis)

    def fetch(self, most: int, most_bytes: int) -> Fetched:
        self.fetches += 1
        taken, self.messages = self.messages[:most], self.messages[most:]
        self.in_redis |= {redis_id for redis_id, _ in taken}
        if self.fails:
            raise self.fails
        return Fetched(taken, len(self.messages))

    def show_life(self) -> None:
        self._called("show_life")

    def connect(self) -> None:
        if not self.is_connected:
            raise redis.ConnectionError

    def await_message(self, seconds: float) -> bool:
        self._called("await_message", seconds)
        return bool(self.messages)

    def acknowledge(self, redis_ids: Sequence[bytes]) -> None:
        self._called("acknowledge", *redis_ids)
        self.in_redis.difference_update(redis_ids)

    def requeue(self, redis_ids: Sequence[bytes]) -> None:
        self._called("requeue", *redis_ids)
        self.in_redis.difference_update(redis_ids)

    def set_aside(self, redis_id: bytes, reason: str, failed: int) -> None:
        self._called("set_aside", redis_id, reason, failed)
        self.in_redis.discard(redis_id)


@pytest.fixture(autouse=True)
def envelopes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_envelopes()
    monkeypatch.setattr("worker.dramatiq_queue.consumer.LINGER_SECONDS", 0)


def consumer(*sources: Source, prefetch: int = 2, batch: int = 1) -> tuple[QueueConsumer, Stop]:
    stop = CrashingStop()
    actors = ("actor", "another")
    queues = cast("list[PartitionQueue]", sources)
    return QueueConsumer("q", queues, actors, prefetch, batch, stop), stop


def fetch(consumer: QueueConsumer) -> DeliveryBatch:
    # A partition that may hang is visited in a thread, so its messages come a moment later.
    batch = next(filter(None, (next(consumer) for _ in range(100))), None)
    assert isinstance(batch, DeliveryBatch)
    return batch


def visit(consumer: QueueConsumer, until: Callable[[], object]) -> None:
    """Let the consumer go its rounds, in which no message comes, until a condition holds."""
    for _ in range(100):
        if until():
            return
        assert next(consumer) is None
    raise AssertionError("it never came true")


def names(batch: DeliveryBatch) -> list[str]:
    return [each.redis_id.decode() for each in batch.deliveries]


def test_what_waits_is_one_message_to_dramatiq_and_gives_no_orders() -> None:
    source = Source()
    for name in "abc":
        source.put(name)
    batch = fetch(consumer(source, batch=2)[0])
    assert names(batch) == ["a", "b"]
    assert batch.args == (batch.deliveries,)
    assert [each.payload for each in batch.deliveries] == [b"payload", b"payload"]
    assert (batch.actor_name, batch.options) == ("actor", {})
    assert "payload" not in str(batch)


def test_a_batch_is_for_one_actor() -> None:
    source = Source()
    for name, actor in (("a", "actor"), ("b", "another"), ("c", "actor")):
        source.put(name, actor)
    queue, _ = consumer(source, batch=3)
    assert [(batch.actor_name, names(batch)) for batch in (fetch(queue), fetch(queue))] == [
        ("actor", ["a", "c"]),
        ("another", ["b"]),
    ]


def test_done_is_acknowledged_together() -> None:
    source = Source()
    source.put("a")
    source.put("b")
    queue, _ = consumer(source, batch=2)
    batch = fetch(queue)
    for each in batch.deliveries:
        each.done()
    queue.ack(batch)
    assert source.commands == [("acknowledge", b"a", b"b")]


def test_each_message_of_a_batch_has_its_own_end() -> None:
    source = Source()
    for name in "abcd":
        source.put(name)
    queue, _ = consumer(source, batch=4)
    batch = fetch(queue)
    done, refused, failed, _ = batch.deliveries
    done.done()
    refused.fail(DeadLetter("POINT_TOO_OLD", 3))
    failed.fail(ValueError("payload"))
    batch.stuff_exception(Interrupted())
    queue.ack(batch)
    assert source.commands == [
        ("set_aside", b"b", "POINT_TOO_OLD", 3),
        ("set_aside", b"c", "UNEXPECTED", 0),
        ("acknowledge", b"a"),
        ("requeue", b"d"),
    ]


@pytest.mark.parametrize("error", [ValueError("payload"), SystemExit(), None])
def test_what_has_no_end_is_never_acknowledged(error: BaseException | None) -> None:
    source = Source()
    source.put("a")
    source.put("b")
    queue, _ = consumer(source, batch=2)
    batch = fetch(queue)
    batch.deliveries[0].done()
    # An actor that returns says nothing by that.
    if error:
        batch.stuff_exception(error)
    queue.ack(batch)
    assert source.commands == [("set_aside", b"b", "UNEXPECTED", 0), ("acknowledge", b"a")]


def test_what_no_thread_took_goes_back() -> None:
    source = Source()
    source.put("a")
    source.put("b")
    queue, _ = consumer(source, batch=2)
    queue.requeue([fetch(queue)])
    assert source.commands == [("requeue", b"a", b"b")]
    source.in_redis = {b"a"}
    assert queue.unaccounted() == {b"a"}


def test_what_is_no_message_is_a_dead_letter_and_an_id_without_one_is_removed() -> None:
    source = Source()
    source.messages = [(b"noise", b"\xff\xff"), (b"twice", None)]
    source.put("a")
    queue, _ = consumer(source, batch=3)
    assert names(fetch(queue)) == ["a"]
    assert source.commands == [
        ("set_aside", b"noise", "UNDECODABLE", 0),
        ("acknowledge", b"twice"),
    ]


ENDS: list[tuple[Callable[[DeliveryBatch], None], str]] = [
    (lambda batch: batch.deliveries[0].done(), "acknowledge"),
    (lambda batch: batch.deliveries[0].fail(DeadLetter("X")), "set_aside"),
    (lambda batch: batch.stuff_exception(Interrupted()), "requeue"),
    (lambda batch: batch.stuff_exception(redis.TimeoutError()), "requeue"),
]


@pytest.mark.parametrize(("end", "command"), ENDS)
def test_what_redis_cannot_be_told_waits_in_hand_until_it_can(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[DeliveryBatch], None], command: str
) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.consumer.SILENT_SECONDS", 0)
    source = Source()
    source.put("a")
    queue, _ = consumer(source, prefetch=1)
    batch = fetch(queue)
    end(batch)
    source.fails = redis.ConnectionError()
    queue.ack(batch)
    assert next(queue) is None
    assert (source.is_silent, source.commands) == (True, [])
    source.fails = None
    source.put("b")
    assert names(fetch(queue)) == ["b"]
    told = [each for each in source.commands if each[0] != "waiting"]
    assert [each[:2] for each in told if each[0] != "show_life"] == [(command, b"a")]
    assert queue.unaccounted() == set()


def test_each_end_of_a_batch_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.consumer.SILENT_SECONDS", 0)
    source = Source()
    for name in "abc":
        source.put(name)
    queue, _ = consumer(source, batch=3)
    batch = fetch(queue)
    refused, done, _ = batch.deliveries
    refused.fail(DeadLetter("X"))
    done.done()
    batch.stuff_exception(Interrupted())
    monkeypatch.setattr(source, "acknowledge", raiser(redis.ConnectionError()))
    queue.ack(batch)
    monkeypatch.undo()
    visit(queue, lambda: ("requeue", b"c") in source.commands)
    assert source.commands == [
        ("set_aside", b"a", "X", 0),
        ("acknowledge", b"b"),
        ("requeue", b"c"),
    ]


def raiser(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


def test_what_may_have_been_fetched_is_given_back_when_redis_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.consumer.SILENT_SECONDS", 0)
    source = Source()
    for name in "abc":
        source.put(name)
    queue, stop = consumer(source, prefetch=1)
    watchdog = Watchdog([cast(QueueWorker, Queue(queue))], stop)
    in_hand = fetch(queue)
    source.fails = redis.TimeoutError()
    queue._fetch(cast(PartitionQueue, source))
    assert source.in_redis == {b"a", b"b"}
    watchdog.check()
    watchdog.require_accounted()
    assert next(queue) is None
    source.fails = None
    visit(queue, lambda: not source.is_fetching)
    # Also while there is no room; what is in hand is not given back.
    assert ("requeue", b"b") in source.commands
    source.in_redis = {b"a"}
    in_hand.deliveries[0].done()
    queue.ack(in_hand)
    assert names(fetch(queue)) == ["c"]


def test_a_partition_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.consumer.SILENT_SECONDS", 0)
    unconfirmed, hanging, well = Source(0), Source(1), Source(2)
    queue, stop = consumer(unconfirmed, hanging, well, prefetch=9)
    watchdog = Watchdog([cast(QueueWorker, Queue(queue))], stop)
    answers = threading.Event()

    def hang(most: int, most_bytes: int) -> Fetched:
        assert answers.wait(20)
        raise NotConfirmed

    monkeypatch.setattr(unconfirmed, "fetch", raiser(NotConfirmed()))
    monkeypatch.setattr(hanging, "fetch", hang)
    unconfirmed.put("x")
    hanging.put("y")
    # They lie on one Redis. The first to fail warns of the other; both are asked again and again.
    for number in range(50):
        well.next_heartbeat = 0
        well.put(str(number))
        assert names(fetch(queue)) == [str(number)]
        queue.requeue([queue._in_hand[next(iter(queue._in_hand))]])
        monkeypatch.setattr(unconfirmed, "fetch", hang)
        watchdog.check()
        watchdog.require_accounted()
    assert unconfirmed.is_fetching
    assert hanging.is_fetching
    assert well.commands.count(("show_life",)) == 50
    answers.set()
    queue.close()


class Flaky(Source):
    """A queue in a partition as Redis has it, of which any call may fail: before it is carried out,
    or with its reply."""

    def __init__(self, number: int, chance: random.Random) -> None:
        super().__init__(number)
        self.ended: list[bytes] = []
        self.is_flaky = True
        self.heartbeat_seconds = 0.0
        self.next_heartbeat = 0.0
        self._chance = chance
        self._kept: dict[bytes, bytes | None] = {}
        self._lock = threading.Lock()

    def _trouble(self, *errors: Exception) -> None:
        if self.is_flaky and self._chance.random() < 0.15:
            raise self._chance.choice(errors)

    def _before(self) -> None:
        self._trouble(redis.ConnectionError(), redis.ResponseError("NOREPLICAS"), NotServedHere())

    def _after(self) -> None:
        self._trouble(redis.ConnectionError(), redis.TimeoutError())

    def waiting(self) -> int:
        self._before()
        return len(self.messages)

    def show_life(self) -> None:
        self._before()

    def fetched(self) -> set[bytes]:
        self._before()
        with self._lock:
            return set(self.in_redis)

    def fetch(self, most: int, most_bytes: int) -> Fetched:
        self._before()
        with self._lock:
            fetched = super().fetch(most, most_bytes)
            self._kept.update(fetched.messages)
        self._after()
        self._trouble(NotConfirmed())
        return fetched

    def _end(self, redis_ids: Sequence[bytes]) -> None:
        self._before()
        with self._lock:
            for redis_id in self.in_redis.intersection(redis_ids):
                self.in_redis.discard(redis_id)
                self.ended.append(redis_id)
        self._after()

    def acknowledge(self, redis_ids: Sequence[bytes]) -> None:
        self._end(redis_ids)

    def set_aside(self, redis_id: bytes, reason: str, failed: int) -> None:
        self._end([redis_id])

    def requeue(self, redis_ids: Sequence[bytes]) -> None:
        self._before()
        with self._lock:
            for redis_id in self.in_redis.intersection(redis_ids):
                self.in_redis.discard(redis_id)
                self.messages.append((redis_id, self._kept[redis_id]))
        self._after()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 3])
def test_whatever_fails_each_message_ends_once(
    monkeypatch: pytest.MonkeyPatch, seed: int, count: int
) -> None:
    for name in ("SILENT_SECONDS", "EMPTY_SECONDS", "CAREFUL_SECONDS"):
        monkeypatch.setattr(f"worker.dramatiq_queue.consumer.{name}", 0.0005)
    chance = random.Random(seed)
    sources = [Flaky(number, chance) for number in range(count)]
    expected = set()
    for source in sources:
        for number in range(40):
            source.put(f"{source.number}.{number}")
            expected.add(f"{source.number}.{number}".encode())
    queue, stop = consumer(*sources, batch=3)
    watchdog = Watchdog([cast(QueueWorker, Queue(queue))], stop)
    hands: list[DeliveryBatch] = []
    for step in range(100_000):
        if step == 1000:
            for source in sources:
                source.is_flaky = False
        batch = next(queue)
        if batch is not None:
            assert isinstance(batch, DeliveryBatch)
            hands.append(batch)
        if step % 50 == 0:
            watchdog.check()
        if hands and chance.random() < 0.7:
            batch = hands.pop(chance.randrange(len(hands)))
            for each in batch.deliveries:
                if chance.random() < 0.2:
                    # It and the rest have no end.
                    batch.stuff_exception(chance.choice([redis.TimeoutError(), Interrupted()]))
                    break
                if chance.random() < 0.3:
                    each.fail(DeadLetter("X"))
                else:
                    each.done()
            queue.ack(batch)
        if step > 1000 and not hands and not any(s.messages or s.in_redis for s in sources):
            break
    queue.close()
    ended = [redis_id for source in sources for redis_id in source.ended]
    assert sorted(ended) == sorted(expected)
    assert queue.unaccounted() == set()
    assert not queue._in_hand


def test_a_stop_gives_back_what_can_be_given_back() -> None:
    away, well = Source(0), Source(1)
    for source in (away, well):
        source.put("a")
        source.put("later", actor="of another version")
    queue, _ = consumer(away, well, batch=2)
    batches = [fetch(queue), fetch(queue)]
    away.fails = redis.ConnectionError()
    queue.requeue(batches)
    queue.close()
    assert away.commands == []
    assert well.commands == [("requeue", b"a"), ("requeue", b"later")]


def test_a_partition_that_does_not_answer_stops_only_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lost, well = Source(0), Source(1)
    lost.is_empty = True
    lost.fails = redis.ConnectionError()
    queue, _ = consumer(lost, well, prefetch=9)
    for name in ("a", "b"):
        well.put(name)
        batch = fetch(queue)
        assert (names(batch), batch.deliveries[0].partition) == ([name], 1)
    assert lost.is_silent
    assert queue.unaccounted() == set()
    # It is asked again after a moment, and first whether anything waits.
    lost.fails = None
    lost.put("c")
    assert next(queue) is None
    now += SILENT_SECONDS
    assert names(fetch(queue)) == ["c"]
    assert lost.commands == [("show_life",), ("waiting",)]
    assert not lost.is_silent


def test_a_fetch_that_cannot_be_sent_takes_nothing() -> None:
    source = Source()
    source.put("a")
    source.is_connected = False
    assert next(consumer(source)[0]) is None
    assert source.is_silent
    assert source.messages


def test_an_empty_partition_among_others_is_looked_at_and_not_written_to() -> None:
    sources = [Source(number) for number in range(3)]
    queue, _ = consumer(*sources, prefetch=9)
    for _ in range(2):
        assert next(queue) is None
        for source in sources:
            source.next_fetch = 0
    assert [source.commands for source in sources] == [[("waiting",)]] * 3


def test_partitions_take_turns() -> None:
    sources = [Source(number) for number in range(3)]
    for source in sources:
        for turn in range(2):
            source.put(f"{source.number}{turn}")
    queue, _ = consumer(*sources, prefetch=9)
    taken = [names(fetch(queue)) for _ in range(6)]
    assert taken == [["00"], ["10"], ["20"], ["01"], ["11"], ["21"]]


@pytest.mark.parametrize("error", [redis.ResponseError("NOREPLICAS"), NotServedHere()])
def test_a_fetch_that_was_refused_took_nothing(error: Exception) -> None:
    source = Source()
    source.fails = error
    assert next(consumer(source)[0]) is None
    assert source.is_silent


def test_what_no_replica_confirms_is_given_back_and_handed_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    source.put("a")
    source.put("b")
    queue, _ = consumer(source, batch=2)
    source.fails = NotConfirmed()
    assert next(queue) is None
    assert (source.is_silent, source.commands) == (True, [])
    source.fails = None
    now += SILENT_SECONDS
    assert next(queue) is None
    assert source.commands[:2] == [("show_life",), ("requeue", b"a", b"b")]


def test_what_waits_for_a_confirmation_is_not_missing() -> None:
    source = Source()
    source.put("a")
    queue, _ = consumer(source)
    seen: list[set[bytes]] = []
    at_once = source.fetch

    def fetch(most: int, most_bytes: int) -> Fetched:
        fetched = at_once(most, most_bytes)
        # The watchdog looks while a replica takes its time.
        seen.append(queue.unaccounted())
        return fetched

    source.fetch = fetch  # type: ignore[method-assign]
    assert next(queue) is not None
    assert seen == [set()]
    assert queue.unaccounted() == set()


def test_a_full_worker_takes_no_more_and_says_that_it_lives() -> None:
    source = Source()
    for name in "abc":
        source.put(name)
    queue, _ = consumer(source, prefetch=2)
    first = fetch(queue)
    fetch(queue)
    source.next_heartbeat = 0
    assert next(queue) is None
    assert source.commands == [("show_life",)]
    first.deliveries[0].done()
    queue.ack(first)
    assert names(fetch(queue)) == ["c"]


def test_what_comes_soon_gathers_and_an_empty_queue_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.consumer.LINGER_SECONDS", 5)
    slept: list[float] = []
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    for name in "abc":
        source.put(name)
    queue, _ = consumer(source, prefetch=9, batch=2)
    monkeypatch.setattr(queue._changed, "wait", slept.append)
    # More waits, so it is fetched at once.
    assert [names(fetch(queue)), names(fetch(queue))] == [["a", "b"], ["c"]]
    source.put("d")
    assert next(queue) is None
    assert (slept, source.commands) == ([5], [])
    now += 5
    assert names(fetch(queue)) == ["d"]
    now += 5
    assert next(queue) is None
    fetches = source.fetches
    # Nothing came, so there is nothing to fetch.
    assert next(queue) is None
    source.put("e")
    assert next(queue) is None
    assert source.commands == [("await_message", AWAIT_SECONDS)] * 3
    assert source.fetches == fetches
    assert names(fetch(queue)) == ["e"]
    assert slept == [5]


def test_who_waits_for_a_message_shows_life_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    source.next_heartbeat = now
    queue, _ = consumer(source)
    assert next(queue) is None
    assert source.commands == [("show_life",), ("await_message", source.heartbeat_seconds)]
    now += source.heartbeat_seconds
    assert next(queue) is None
    assert source.commands[2:] == source.commands[:2]


def test_at_its_memory_limit_redis_lets_nobody_wait_and_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(seconds: float) -> bool:
        raise redis.exceptions.OutOfMemoryError

    source = Source()
    queue, _ = consumer(source)
    monkeypatch.setattr(source, "await_message", refuse)
    assert next(queue) is None
    source.put("a")
    assert names(fetch(queue)) == ["a"]


def test_what_is_for_a_later_version_is_held_and_then_goes_behind_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    source.put("new", actor="later")
    source.put("a")
    source.in_redis = {b"new", b"a"}
    queue, _ = consumer(source, batch=2)
    assert names(fetch(queue)) == ["a"]
    assert queue.unaccounted() == set()
    # It takes no room: the second of two is still free.
    source.put("b")
    assert names(fetch(queue)) == ["b"]
    assert source.commands == []
    now += 2
    assert next(queue) is None
    assert source.commands[0] == ("requeue", b"new")


def test_no_more_is_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.held_messages.MAX_HELD", 1)
    source = Source()
    for name in ("new", "newer"):
        source.put(name, actor="later")
    queue, _ = consumer(source)
    for _ in range(2):
        assert next(queue) is None
    assert source.commands == [("requeue", b"newer")]


def test_what_is_held_is_given_back_at_the_end() -> None:
    source = Source()
    source.put("new", actor="later")
    queue, _ = consumer(source)
    assert next(queue) is None
    queue.close()
    queue.close()
    assert source.commands == [("requeue", b"new")]


def test_a_stopping_worker_takes_no_more() -> None:
    source = Source()
    source.put("a")
    queue, stop = consumer(source)
    stop.ask()
    assert next(queue) is None
    assert source.messages


def test_what_was_fetched_and_never_came_is_unaccounted() -> None:
    source = Source()
    source.put("a")
    source.in_redis = {b"a", b"lost"}
    queue, _ = consumer(source)
    fetch(queue)
    assert queue.unaccounted() == {b"lost"}
    assert queue.unaccounted() == {b"lost"}


def test_redis_is_not_asked_again_what_it_counts_as_ours_when_nothing_was_fetched() -> None:
    source = Source()
    queue, _ = consumer(source)
    assert [queue.unaccounted(), queue.unaccounted()] == [set(), set()]
    assert source.looks == 1
    source.put("a")
    batch = fetch(queue)
    source.fails = redis.TimeoutError()
    assert queue.unaccounted() == set()
    source.fails = None
    assert [queue.unaccounted(), queue.unaccounted()] == [set(), set()]
    assert source.looks == 4
    batch.deliveries[0].done()
    queue.ack(batch)
    source.in_redis.clear()
    assert [queue.unaccounted(), queue.unaccounted()] == [set(), set()]
    assert source.looks == 5


def test_a_fetch_that_arrives_after_it_was_given_up_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The network may bring it later than what was asked over the next connection."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    queue, _ = consumer(source)
    source.fails = redis.TimeoutError()
    assert next(queue) is None
    source.fails = None
    now += SILENT_SECONDS
    visit(queue, until=lambda: not source.is_silent)
    assert queue.unaccounted() == set()
    now += 100
    assert queue.unaccounted() == set()
    source.in_redis = {b"late"}
    assert queue.unaccounted() == {b"late"}
    source.in_redis.clear()
    now += 100
    assert queue.unaccounted() == set()
    looks = source.looks
    assert queue.unaccounted() == set()
    assert source.looks == looks


class Queue:
    """A queue of this process, as the watchdog sees it."""

    queue = "q"

    def __init__(self, consumer: QueueConsumer) -> None:
        self.alive = True
        self.unaccounted = consumer.unaccounted

    def is_alive(self) -> bool:
        return self.alive


def test_a_message_may_be_on_its_way_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    source.in_redis = {b"lost"}
    queue, stop = consumer(source)
    watchdog = Watchdog([cast(QueueWorker, Queue(queue))], stop)
    watchdog.require_accounted()
    watchdog.check()
    now += 3
    watchdog.check()
    with pytest.raises(Unhealthy, match="1 fetched"):
        watchdog.require_accounted()
    now += 3
    with pytest.raises(Crash):
        watchdog.check()


def test_a_message_that_arrives_late_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    source = Source()
    queue, stop = consumer(source)
    watchdog = Watchdog([cast(QueueWorker, Queue(queue))], stop)
    for missing in ({b"late"}, set(), {b"late"}):
        source.in_redis, source.may_hold = missing, True
        watchdog.check()
        now += 3
    watchdog.check()


def test_a_gone_thread_ends_the_process() -> None:
    queue, stop = consumer(Source())
    watched = Queue(queue)
    watchdog = Watchdog([cast(QueueWorker, watched)], stop)
    watchdog.check()
    watched.alive = False
    with pytest.raises(Crash):
        watchdog.check()


def test_a_broker_consumes_once_and_has_no_stock_middleware() -> None:
    broker = QueueBroker([], 1, CrashingStop())
    assert broker.middleware == []
    broker.declare_queue("q")
    assert broker.get_declared_queues() == {"q"}
    assert broker.get_declared_delay_queues() == set()
    broker.consume("q")
    with pytest.raises(Crash):
        broker.consume("q")
