from __future__ import annotations

from typing import Any, cast

import pytest
import redis
from dramatiq import Message

from job_store.dead_letters import DeadLetters
from job_store.envelope import use_envelopes
from mesh.health import Unhealthy
from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.consumer import QueueConsumer
from worker.dramatiq_queue.dead_letter import DeadLetter
from worker.dramatiq_queue.delivery import Delivery
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
    actors = ("actor",)
    consumer: QueueConsumer | None = None

    def __init__(self) -> None:
        self.client = self
        self.waiting: list[bytes] = []
        self.fetched: set[bytes] = set()
        self.commands: list[tuple[Any, ...]] = []
        self.fails = False

    def llen(self, key: str) -> int:
        if self.fails:
            raise redis.TimeoutError
        return len(self.waiting)

    def smembers(self, key: str) -> set[bytes]:
        return set(self.fetched)

    def do_fetch(self, queue: str, room: int) -> list[bytes]:
        taken, self.waiting = self.waiting[:room], self.waiting[room:]
        return taken

    def __getattr__(self, name: str) -> Any:
        def command(*arguments: Any) -> None:
            if self.fails:
                raise redis.TimeoutError
            self.commands.append((name, *arguments))

        return command


@pytest.fixture(autouse=True)
def envelopes() -> None:
    use_envelopes()


def message(name: str, actor: str = "actor") -> bytes:
    options = {"redis_message_id": name, "eta": 1, "throws": "x"}
    return Message[None]("q", actor, (b"payload",), {}, options, name).encode()


def consumer(broker: Broker, prefetch: int = 2) -> tuple[QueueConsumer, Letters, Stop]:
    letters, stop = Letters(), CrashingStop()
    made = QueueConsumer(cast(Any, broker), "q", prefetch, 0.01, cast(DeadLetters, letters), stop)
    return made, letters, stop


def fetch(consumer: QueueConsumer) -> Delivery:
    delivery = next(consumer)
    assert isinstance(delivery, Delivery)
    return delivery


def test_options_give_no_orders() -> None:
    broker = Broker()
    broker.waiting = [message("a")]
    delivery = fetch(consumer(broker)[0])
    assert delivery.options == {"redis_message_id": "a"}
    assert "payload" not in str(delivery)


def test_done_is_acknowledged() -> None:
    broker = Broker()
    broker.waiting = [message("a")]
    queue, _, _ = consumer(broker)
    queue.ack(fetch(queue))
    assert broker.commands == [("do_ack", "q", b"a")]


def test_interrupted_is_given_back() -> None:
    broker = Broker()
    broker.waiting = [message("a")]
    queue, _, _ = consumer(broker)
    delivery = fetch(queue)
    delivery.stuff_exception(Interrupted())
    assert not delivery.failed
    queue.ack(delivery)
    assert broker.commands == [("do_requeue", "q", b"a")]


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (DeadLetter("POINT_TOO_OLD", 3), (b"a", "POINT_TOO_OLD", 3)),
        (ValueError("payload"), (b"a", "UNEXPECTED", 0)),
        (SystemExit(), (b"a", "UNEXPECTED", 0)),
    ],
)
def test_failed_is_a_dead_letter(error: BaseException, note: tuple[bytes, str, int]) -> None:
    broker = Broker()
    broker.waiting = [message("a")]
    queue, letters, _ = consumer(broker)
    delivery = fetch(queue)
    # Dramatiq hands over the exception first; whatever fails after that, this is not acknowledged.
    delivery.stuff_exception(error)
    assert delivery.failed
    queue.nack(delivery)
    assert letters.notes == [note]
    assert broker.commands == [("do_nack", "q", b"a")]


def test_any_error_of_redis_ends_the_process() -> None:
    broker = Broker()
    broker.waiting = [message("a"), message("b")]
    queue, _, _ = consumer(broker)
    first, second = fetch(queue), fetch(queue)
    second.stuff_exception(Interrupted())
    broker.fails = True
    for call in (queue.ack, queue.nack):
        for delivery in (first, second):
            with pytest.raises(Crash):
                call(delivery)
    with pytest.raises(Crash):
        next(consumer(broker)[0])


def test_a_full_worker_takes_no_more_and_says_that_it_lives() -> None:
    broker = Broker()
    broker.waiting = [message(name) for name in "abc"]
    queue, _, _ = consumer(broker, prefetch=2)
    first = fetch(queue)
    fetch(queue)
    cast(Any, queue)._last_contact = 0
    assert next(queue) is None
    assert broker.commands == [("do_qsize", "q")]
    queue.ack(first)
    assert fetch(queue).message_id == "c"


def test_what_is_for_a_later_version_is_held_and_then_goes_behind_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    broker = Broker()
    broker.waiting = [message("new", actor="later"), message("a")]
    broker.fetched = {b"new", b"a"}
    queue, letters, _ = consumer(broker)
    assert fetch(queue).message_id == "a"
    assert queue.unaccounted() == set()
    # It takes no room: the second of two is still free.
    broker.waiting = [message("b")]
    assert fetch(queue).message_id == "b"
    assert broker.commands == []
    now += 2
    assert next(queue) is None
    assert broker.commands[0] == ("do_requeue", "q", b"new")
    assert letters.notes == []


def test_no_more_is_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.dramatiq_queue.held_messages.MAX_HELD", 1)
    broker = Broker()
    broker.waiting = [message("new", actor="later"), message("newer", actor="later")]
    assert next(consumer(broker)[0]) is None
    assert broker.commands == [("do_requeue", "q", b"newer")]


def test_what_is_held_is_given_back_at_the_end() -> None:
    broker = Broker()
    broker.waiting = [message("new", actor="later")]
    queue, _, _ = consumer(broker)
    assert next(queue) is None
    queue.close()
    queue.close()
    assert broker.commands == [("do_requeue", "q", b"new")]


def test_a_stopping_worker_takes_no_more() -> None:
    broker = Broker()
    broker.waiting = [message("a")]
    queue, _, stop = consumer(broker)
    stop.ask()
    assert next(queue) is None
    assert broker.waiting


def test_what_was_fetched_and_never_came_is_unaccounted() -> None:
    broker = Broker()
    broker.waiting = [message("a")]
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
    broker = QueueBroker(redis.Redis(), 8, CrashingStop())
    assert broker.middleware == []
    broker.declare_queue("q")
    assert broker.get_declared_delay_queues() == set()
    broker.consume("q")
    with pytest.raises(Crash):
        broker.consume("q")
