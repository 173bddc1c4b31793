"""What Dramatiq itself does on a real Redis, where worker/dramatiq_queue does something else.

Each test here fails once Dramatiq mends what it shows; see worker/dramatiq_queue/README.md.
"""

from __future__ import annotations

import time

import pytest
import redis
from dramatiq import Consumer, Message
from dramatiq.brokers.redis import RedisBroker

from job_store.envelope import use_envelopes
from job_store.keys import ONLY
from tests.kit.servers import Redis
from tests.kit.waiting import eventually


@pytest.fixture(name="broker")
def _broker(server: Redis) -> RedisBroker:
    use_envelopes()
    broker: RedisBroker = RedisBroker(  # type: ignore[no-untyped-call]
        client=server.client, middleware=[], maintenance_chance=1_000_000, heartbeat_timeout=60_000
    )
    broker.declare_queue("q")
    return broker


def enqueue(broker: RedisBroker) -> bytes:
    """Store a message and return its id."""
    message: Message[None] = Message("q", "actor", (b"payload",), {}, {})
    redis_id: str = broker.enqueue(message).options["redis_message_id"]
    return redis_id.encode()


def fetched(server: Redis, broker: RedisBroker) -> object:
    return server.client.smembers(ONLY.fetched("q", broker.broker_id))


def polled(consumer: Consumer) -> list[object]:
    """Return what a consumer finds that looks ten times."""
    return [each for each in (next(consumer) for _ in range(10)) if each is not None]


def test_what_was_fetched_and_never_arrived_stays_with_the_living(
    server: Redis, broker: RedisBroker
) -> None:
    redis_id = enqueue(broker)
    # The reply is lost on its way.
    broker.do_fetch("q", 1)
    for _ in range(2):
        # However often the consumer is started again: its worker is alive.
        assert polled(broker.consume("q", timeout=1)) == []
    assert fetched(server, broker) == {redis_id}


def test_a_fetch_has_no_bound_in_bytes_and_writes_when_nothing_waits(
    server: Redis, broker: RedisBroker
) -> None:
    messages: list[Message[None]] = [
        Message("q", "actor", (bytes(1024 * 1024),), {}, {}) for _ in range(3)
    ]
    for message in messages:
        broker.enqueue(message)
    # What it returns names no ids, so what cannot be decoded has none.
    assert sum(map(len, broker.do_fetch("q", 3))) > 3 * 1024 * 1024
    before = server.client.zscore(ONLY.heartbeats, broker.broker_id)
    eventually(lambda: int(time.time() * 1000) > (before or 0))
    assert broker.do_fetch("q", 3) == []
    assert server.client.zscore(ONLY.heartbeats, broker.broker_id) != before


def test_an_id_without_a_message_stays_fetched(server: Redis, broker: RedisBroker) -> None:
    server.client.rpush(ONLY.waiting("q"), "twice")
    assert polled(broker.consume("q", timeout=1)) == []
    assert fetched(server, broker) == {b"twice"}


def test_a_full_redis_lets_nobody_acknowledge(server: Redis, broker: RedisBroker) -> None:
    redis_id = enqueue(broker)
    taken = next(broker.consume("q", timeout=1))
    assert taken is not None
    server.client.config_set("maxmemory", 1)
    with pytest.raises(redis.ResponseError):
        broker.do_ack("q", redis_id)
    assert fetched(server, broker) == {redis_id}
