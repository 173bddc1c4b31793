"""What Dramatiq itself does, where worker/dramatiq_queue does something else.

Each test here fails once Dramatiq mends what it shows: the override it is named for in
worker/dramatiq_queue/README.md may then go. tests/integration/test_stock_dramatiq.py has those
that take a Redis.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from queue import Empty, PriorityQueue
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq import Broker, Consumer, Message, MessageProxy, Middleware, Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import BrokerConnectionError, ConnectionClosed
from dramatiq.errors import DecodeError as UndecodableMessage
from dramatiq.worker import ConsumerThread, WorkerThread

from job_store.envelope import use_envelopes

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def envelopes() -> None:
    use_envelopes()


def message(name: str = "a", actor: str = "actor", **options: Any) -> Message[None]:
    options |= {"redis_message_id": name}
    return Message("q", actor, (b"payload",), {}, options, name)


class RecordingConsumer(Consumer):
    """Hands out messages, then breaks down, and notes what it is told."""

    def __init__(self, *messages: Message[None]) -> None:
        self._messages = iter(messages)
        self.acked: list[str] = []
        self.dead: list[str] = []
        self.requeued: list[str] = []

    def __next__(self) -> MessageProxy:
        for message in self._messages:
            return MessageProxy(message)
        raise ConnectionClosed(OSError())  # type: ignore[no-untyped-call]

    def ack(self, message: MessageProxy) -> None:
        self.acked.append(message.message_id)

    def nack(self, message: MessageProxy) -> None:
        self.dead.append(message.message_id)

    def requeue(self, messages: Any) -> None:
        self.requeued += [each.message_id for each in messages]


def consumer_thread(broker: Broker, consumer: Consumer) -> ConsumerThread:
    thread = ConsumerThread(
        broker=broker, queue_name="q", prefetch=2, work_queue=PriorityQueue(), worker_timeout=10
    )
    thread.consumer = consumer
    return thread


def process(broker: Broker, consumer: Consumer, name: str = "a") -> None:
    """Have a worker thread carry out a message."""
    queue: PriorityQueue[Any] = PriorityQueue()
    queue.put(0)
    consumers = {"q": consumer_thread(broker, consumer)}
    thread = WorkerThread(broker=broker, consumers=consumers, work_queue=queue, worker_timeout=10)
    thread.process_message(MessageProxy(message(name)))


def broker_of(*middleware: Middleware) -> StubBroker:
    broker = StubBroker(middleware=list(middleware))

    def actor(payload: bytes) -> None:
        raise ValueError

    dramatiq.Actor(actor, broker=broker, actor_name="actor", queue_name="q", priority=0, options={})
    return broker


def test_what_fails_without_retries_is_acknowledged() -> None:
    consumer = RecordingConsumer()
    process(broker_of(), consumer)
    assert (consumer.acked, consumer.dead) == (["a"], [])


def test_a_thread_carries_out_one_message_at_a_time() -> None:
    calls: list[bytes] = []
    broker = StubBroker(middleware=[])
    dramatiq.Actor(
        calls.append, broker=broker, actor_name="actor", queue_name="q", priority=0, options={}
    )
    consumer = RecordingConsumer()
    for name in ("a", "b"):
        process(broker, consumer, name)
    assert calls == [b"payload", b"payload"]
    assert consumer.acked == ["a", "b"]


def test_what_fails_while_its_retry_cannot_be_stored_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = broker_of(dramatiq.middleware.Retries())
    tried: list[str] = []

    def enqueue(message: Message[None], *, delay: int | None = None) -> Message[None]:
        tried.append(message.message_id)
        raise redis.ConnectionError

    monkeypatch.setattr(broker, "enqueue", enqueue)
    consumer = RecordingConsumer()
    process(broker, consumer)
    assert tried == ["a"]
    assert (consumer.acked, consumer.dead) == (["a"], [])


def test_what_is_delayed_is_dropped_when_the_connection_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0)
    delayed: list[str] = []

    class Delays(Middleware):
        def before_delay_message(self, broker: Broker, message: MessageProxy) -> None:
            delayed.append(message.message_id)

    broker = StubBroker(middleware=[Delays()])
    before, after = RecordingConsumer(message(eta=2**60)), RecordingConsumer()
    thread = consumer_thread(broker, before)
    consumers = [before, after]

    def consume(**arguments: Any) -> Consumer:
        consumer = consumers.pop(0)
        if not consumers:
            thread.stop()
        return consumer

    monkeypatch.setattr(broker, "consume", consume)
    thread.run()
    assert delayed == ["a"]
    assert before.requeued == after.requeued == []
    assert thread.delay_queue.empty()


def test_a_message_may_order_its_own_delay() -> None:
    thread = consumer_thread(StubBroker(middleware=[]), RecordingConsumer())
    thread.handle_message(MessageProxy(message(eta=2**60)))
    assert thread.delay_queue.qsize() == 1


def test_a_message_for_an_unknown_actor_is_a_dead_letter_at_once() -> None:
    consumer = RecordingConsumer()
    thread = consumer_thread(broker_of(), consumer)
    thread.handle_message(MessageProxy(message(actor="later")))
    assert consumer.dead == ["a"]


class Redis:
    """A broker of Redis that notes its commands."""

    def __init__(self, *waiting: bytes) -> None:
        self.waiting = list(waiting)
        self.commands: list[str] = []
        self.error: redis.RedisError | None = None

    def do_fetch(self, queue: str, most: int) -> list[bytes]:
        self.commands.append("fetch")
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return taken

    def do_ack(self, queue: str, redis_id: str) -> None:
        self.commands.append("ack")
        if self.error:
            raise self.error

    def do_requeue(self, queue: str, redis_id: str) -> None:
        self.do_ack(queue, redis_id)


def redis_consumer(broker: Redis, prefetch: int = 1) -> Consumer:
    stock: Any = RedisBroker(client=redis.Redis(), middleware=[]).consumer_class  # type: ignore[no-untyped-call]
    consumer: Consumer = stock(broker, "q", prefetch, 1)
    return consumer


def test_a_consumer_whose_hands_are_full_sends_no_heartbeat() -> None:
    broker = Redis(message().encode())
    consumer = redis_consumer(broker)
    assert next(consumer)
    broker.commands.clear()
    assert next(consumer) is None
    # Every command is a heartbeat, and nothing else is.
    assert broker.commands == []


def test_a_timeout_of_redis_is_no_connection_error() -> None:
    """So neither the consumer thread nor what closes it takes it for one."""
    broker = Redis(message().encode())
    consumer = redis_consumer(broker)
    taken = next(consumer)
    assert taken is not None
    broker.error = redis.TimeoutError()
    with pytest.raises(redis.TimeoutError):
        consumer.ack(taken)
    assert not issubclass(redis.TimeoutError, BrokerConnectionError)


def test_putting_back_raises_what_ends_the_consumer_thread() -> None:
    broker = Redis(message().encode())
    consumer = redis_consumer(broker)
    taken = next(consumer)
    assert taken is not None
    broker.error = redis.ConnectionError()
    with pytest.raises(redis.ConnectionError):
        consumer.requeue([taken])


def test_what_cannot_be_decoded_ends_the_consumer_and_stays_fetched() -> None:
    broker = Redis(b"\xff\xff", message("b").encode())
    consumer = redis_consumer(broker, prefetch=2)
    with pytest.raises(UndecodableMessage):
        next(consumer)
    assert broker.commands == ["fetch"]


def test_the_defaults_leave_messages_with_dead_workers_and_forget_dead_letters() -> None:
    defaults = inspect.signature(RedisBroker).parameters
    # One command in a thousand looks for dead workers.
    assert defaults["maintenance_chance"].default == 1000
    assert defaults["dead_message_ttl"].default == 7 * 24 * 3600 * 1000


def test_a_worker_fetches_twice_what_it_can_carry_out_and_has_no_setting_for_it() -> None:
    assert Worker(StubBroker(middleware=[]), worker_threads=3).queue_prefetch == 6
    assert "queue_prefetch" not in inspect.signature(Worker).parameters


def test_the_queues_of_a_worker_share_its_threads() -> None:
    broker = StubBroker(middleware=[])
    worker = Worker(broker, worker_threads=1, worker_timeout=10)
    worker.start()
    try:
        for queue in ("one", "two"):
            broker.declare_queue(queue)
        shared = {id(consumer.work_queue) for consumer in worker.consumers.values()}
        assert set(worker.consumers) >= {"one", "two"}
        assert shared == {id(worker.work_queue)}
    finally:
        worker.stop()


def test_idle_threads_wake_to_see_whether_they_are_to_end() -> None:
    waits: list[float | None] = []

    class Noting(PriorityQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            waits.append(timeout)
            thread.stop()
            raise Empty

    thread = WorkerThread(
        broker=StubBroker(middleware=[]), consumers={}, work_queue=Noting(), worker_timeout=1000
    )
    thread.run()
    assert waits == [1]


def test_a_message_prints_its_arguments() -> None:
    assert "secret" in str(Message("q", "actor", (b"secret",), {}, {}))


def test_the_page_names_these_tests_and_no_others() -> None:
    page = (ROOT / "worker" / "dramatiq_queue" / "README.md").read_text()
    files = {"unit": Path(__file__), "Redis": ROOT / "tests/integration/test_stock_dramatiq.py"}
    tests = {
        (kind, name)
        for kind, path in files.items()
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    own = ("unit", "test_the_page_names_these_tests_and_no_others")
    assert set(re.findall(r"\| (\w+): `(test_\w+)` \|", page)) == tests - {own}
