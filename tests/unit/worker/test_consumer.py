from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any, cast

import pytest
import redis
from dramatiq import Message

from job_store.dead_letters import DeadLetters
from job_store.envelope import use_envelopes
from job_store.keys import ONLY
from mesh.health import Unhealthy
from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.consumer import AWAIT_SECONDS, QueueConsumer
from worker.dramatiq_queue.dead_letter import DeadLetter
from worker.dramatiq_queue.delivery import DeliveryBatch
from worker.dramatiq_queue.queue_worker import QueueWorker
from worker.waiting import Interrupted, Stop
from worker.watchdog import Watchdog


class Crash(BaseException):
    """Stands for the end of the process."""


class CrashingStop(Stop):
    def crash(self, reason: str, error: BaseException | None = None) -> None:
        raise Crash(reason)


class Letters:
    def __init__(self) -> None:
        self.notes: list[tuple[bytes, str, int]] = []

    def note(self, message_id: bytes, reason: str, failed: int) -> None:
        self.notes.append((message_id, reason, failed))


class Broker:
    """A broker of one queue that notes its commands, and fails when told to."""

    broker_id = "me"
    actors = ("actor", "another")
    consumer: QueueConsumer | None = None

    def __init__(self) -> None:
        self.client = self
        self.waiting: list[tuple[bytes, bytes | None]] = []
        self.fetched: set[bytes] = set()
        self.commands: list[tuple[Any, ...]] = []
        self.fails = False

    def put(self, name: str, actor: str = "actor") -> None:
        options = {"redis_message_id": name, "eta": 1, "throws": "x"}
        message = Message[None]("q", actor, (b"payload",), {}, options, name)
        self.waiting.append((name.encode(), message.encode()))

    def smembers(self, key: str) -> set[bytes]:
        return set(self.fetched)

    def register_script(self, text: str) -> Any:
        if "Takes messages" in text:
            return self._fetch
        return lambda keys, args: self.acknowledge(*args)

    def _fetch(self, keys: list[str], args: list[Any]) -> list[Any]:
        if self.fails:
            raise redis.TimeoutError
        most = args[2]
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return [len(self.waiting), *chain.from_iterable(taken)] if taken else []

    def __getattr__(self, name: str) -> Any:
        def command(*arguments: Any) -> None:
            if self.fails:
                raise redis.TimeoutError
            self.commands.append((name, *arguments))

        return command


@pytest.fixture(autouse=True)
def envelopes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_envelopes()
    monkeypatch.setattr("worker.dramatiq_queue.consumer.LINGER_SECONDS", 0)


def consumer(
    broker: Broker, prefetch: int = 2, batch: int = 1
) -> tuple[QueueConsumer, Letters, Stop]:
    letters, stop = Letters(), CrashingStop()
    made = QueueConsumer(
        cast(Any, broker), "q", prefetch, batch, 1, cast(DeadLetters, letters), stop
    )
    # The first one is sent at once.
    cast(Any, made)._next_heartbeat = math.inf
    return made, letters, stop


def fetch(consumer: QueueConsumer) -> DeliveryBatch:
    batch = next(consumer)
    assert isinstance(batch, DeliveryBatch)
    return batch


def names(batch: DeliveryBatch) -> list[str]:
    return [each.redis_id.decode() for each in batch.deliveries]


def test_what_waits_is_one_message_to_dramatiq_and_gives_no_orders() -> None:
    broker = Broker()
    for name in "abc":
        broker.put(name)
    batch = fetch(consumer(broker, batch=2)[0])
    assert names(batch) == ["a", "b"]
    assert batch.args == (batch.deliveries,)
    assert [each.payload for each in batch.deliveries] == [b"payload", b"payload"]
    assert (batch.actor_name, batch.options) == ("actor", {})
    assert "payload" not in str(batch)


def test_a_batch_is_for_one_actor() -> None:
    broker = Broker()
    for name, actor in (("a", "actor"), ("b", "another"), ("c", "actor")):
        broker.put(name, actor)
    queue, _, _ = consumer(broker, batch=3)
    assert [(batch.actor_name, names(batch)) for batch in (fetch(queue), fetch(queue))] == [
        ("actor", ["a", "c"]),
        ("another", ["b"]),
    ]


def test_done_is_acknowledged_together() -> None:
    broker = Broker()
    broker.put("a")
    broker.put("b")
    queue, _, _ = consumer(broker, batch=2)
    batch = fetch(queue)
    for each in batch.deliveries:
        each.done()
    queue.ack(batch)
    assert broker.commands == [("acknowledge", b"a", b"b")]


def test_each_message_of_a_batch_has_its_own_end() -> None:
    broker = Broker()
    for name in "abcd":
        broker.put(name)
    queue, letters, _ = consumer(broker, batch=4)
    batch = fetch(queue)
    done, refused, failed, _ = batch.deliveries
    done.done()
    refused.fail(DeadLetter("POINT_TOO_OLD", 3))
    failed.fail(ValueError("payload"))
    batch.stuff_exception(Interrupted())
    queue.ack(batch)
    assert letters.notes == [(b"b", "POINT_TOO_OLD", 3), (b"c", "UNEXPECTED", 0)]
    assert broker.commands == [
        ("do_nack", "q", b"b"),
        ("do_nack", "q", b"c"),
        ("acknowledge", b"a"),
        ("do_requeue", "q", b"d"),
    ]
    assert queue.unaccounted() == set()


@pytest.mark.parametrize("error", [ValueError("payload"), SystemExit(), None])
def test_what_has_no_end_is_never_acknowledged(error: BaseException | None) -> None:
    broker = Broker()
    broker.put("a")
    broker.put("b")
    queue, letters, _ = consumer(broker, batch=2)
    batch = fetch(queue)
    batch.deliveries[0].done()
    # An actor that returns says nothing by that.
    if error:
        batch.stuff_exception(error)
    queue.ack(batch)
    assert letters.notes == [(b"b", "UNEXPECTED", 0)]
    assert broker.commands == [("do_nack", "q", b"b"), ("acknowledge", b"a")]


def test_what_no_thread_took_goes_back() -> None:
    broker = Broker()
    broker.put("a")
    broker.put("b")
    queue, _, _ = consumer(broker, batch=2)
    queue.requeue([fetch(queue)])
    assert broker.commands == [("do_requeue", "q", b"a", b"b")]
    broker.fetched = {b"a"}
    assert queue.unaccounted() == {b"a"}


def test_what_is_no_message_is_a_dead_letter_and_an_id_without_one_is_removed() -> None:
    broker = Broker()
    broker.waiting = [(b"noise", b"\xff\xff"), (b"twice", None)]
    broker.put("a")
    queue, letters, _ = consumer(broker, batch=3)
    assert names(fetch(queue)) == ["a"]
    assert letters.notes == [(b"noise", "UNDECODABLE", 0)]
    assert broker.commands == [("do_nack", "q", b"noise"), ("acknowledge", b"twice")]


def test_any_error_of_redis_ends_the_process() -> None:
    ends: list[Callable[[DeliveryBatch], None]] = [
        lambda batch: batch.deliveries[0].done(),
        lambda batch: batch.deliveries[0].fail(DeadLetter("X")),
        lambda batch: batch.stuff_exception(Interrupted()),
    ]
    for end in ends:
        broker = Broker()
        broker.put("a")
        queue, _, _ = consumer(broker)
        batch = fetch(queue)
        end(batch)
        broker.fails = True
        for call in (queue.ack, queue.nack):
            with pytest.raises(Crash):
                call(batch)
    for waiting in (["a"], []):
        broker = Broker()
        for name in waiting:
            broker.put(name)
        broker.fails = True
        with pytest.raises(Crash):
            next(consumer(broker)[0])


def test_a_full_worker_takes_no_more_and_says_that_it_lives() -> None:
    broker = Broker()
    for name in "abc":
        broker.put(name)
    queue, _, _ = consumer(broker, prefetch=2)
    first = fetch(queue)
    fetch(queue)
    cast(Any, queue)._next_heartbeat = 0
    assert next(queue) is None
    assert broker.commands == [("do_qsize", "q")]
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
    monkeypatch.setattr("time.sleep", slept.append)
    broker = Broker()
    for name in "abc":
        broker.put(name)
    queue, _, _ = consumer(broker, prefetch=9, batch=2)
    # More waits, so it is fetched at once.
    assert [names(fetch(queue)), names(fetch(queue))] == [["a", "b"], ["c"]]
    broker.put("d")
    assert next(queue) is None
    assert (slept, broker.commands) == ([5], [])
    now += 5
    assert names(fetch(queue)) == ["d"]
    now += 5
    assert next(queue) is None
    waiting = ONLY.waiting("q")
    assert broker.commands == [("blmove", waiting, waiting, AWAIT_SECONDS, "RIGHT", "RIGHT")]
    broker.put("e")
    assert names(fetch(queue)) == ["e"]
    assert slept == [5]


def test_what_is_for_a_later_version_is_held_and_then_goes_behind_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    broker = Broker()
    broker.put("new", actor="later")
    broker.put("a")
    broker.fetched = {b"new", b"a"}
    queue, letters, _ = consumer(broker, batch=2)
    assert names(fetch(queue)) == ["a"]
    assert queue.unaccounted() == set()
    # It takes no room: the second of two is still free.
    broker.put("b")
    assert names(fetch(queue)) == ["b"]
    assert broker.commands == []
    now += 2
    assert next(queue) is None
    assert broker.commands[0] == ("do_requeue", "q", b"new")
    assert letters.notes == []


def test_no_more_is_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.held_messages.MAX_HELD", 1)
    broker = Broker()
    for name in ("new", "newer"):
        broker.put(name, actor="later")
    queue, _, _ = consumer(broker)
    for _ in range(2):
        assert next(queue) is None
    assert broker.commands == [("do_requeue", "q", b"newer")]


def test_what_is_held_is_given_back_at_the_end() -> None:
    broker = Broker()
    broker.put("new", actor="later")
    queue, _, _ = consumer(broker)
    assert next(queue) is None
    queue.close()
    queue.close()
    assert broker.commands == [("do_requeue", "q", b"new")]


def test_a_stopping_worker_takes_no_more() -> None:
    broker = Broker()
    broker.put("a")
    queue, _, stop = consumer(broker)
    stop.ask()
    assert next(queue) is None
    assert broker.waiting


def test_what_was_fetched_and_never_came_is_unaccounted() -> None:
    broker = Broker()
    broker.put("a")
    broker.fetched = {b"a", b"lost"}
    queue, _, _ = consumer(broker)
    fetch(queue)
    assert queue.unaccounted() == {b"lost"}


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
    broker = Broker()
    broker.fetched = {b"lost"}
    queue, _, stop = consumer(broker)
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
    broker = Broker()
    queue, _, stop = consumer(broker)
    watchdog = Watchdog([cast(QueueWorker, Queue(queue))], stop)
    for missing in ({b"late"}, set(), {b"late"}):
        broker.fetched = missing
        watchdog.check()
        now += 3
    watchdog.check()


def test_a_gone_thread_ends_the_process() -> None:
    queue, _, stop = consumer(Broker())
    watched = Queue(queue)
    watchdog = Watchdog([cast(QueueWorker, watched)], stop)
    watchdog.check()
    watched.alive = False
    with pytest.raises(Crash):
        watchdog.check()


def test_a_broker_consumes_once_and_has_no_stock_middleware() -> None:
    broker = QueueBroker(redis.Redis(), 8, CrashingStop(), 1)
    assert broker.middleware == []
    broker.declare_queue("q")
    assert broker.get_declared_delay_queues() == set()
    broker.consume("q")
    with pytest.raises(Crash):
        broker.consume("q")
