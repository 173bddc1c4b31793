"""What a worker does with a queue, on a real Redis."""

from __future__ import annotations

import threading
import time

from job_store.keys import ONLY
from job_store.queues import StoredQueue
from tests.kit.servers import Redis
from tests.kit.waiting import eventually


def put(server: Redis, **messages: bytes) -> None:
    for name, message in messages.items():
        server.client.hset(ONLY.messages("q"), name, message)
        server.client.rpush(ONLY.waiting("q"), name)


def test_a_fetch_takes_what_fits_in_order(server: Redis) -> None:
    put(server, a=b"12345", b=b"12345", c=b"12345", d=b"1")
    server.client.rpush(ONLY.waiting("q"), "gone")
    queue = StoredQueue(server.client, "q")
    assert queue.fetch("me", 9, 12) == ([(b"a", b"12345"), (b"b", b"12345")], 3)
    # The first one comes whatever its size.
    assert queue.fetch("me", 9, 2) == ([(b"c", b"12345")], 2)
    assert queue.fetch("me", 1, 99) == ([(b"d", b"1")], 1)
    assert queue.fetch("me", 9, 99) == ([(b"gone", None)], 0)
    assert queue.fetched("me") == {b"a", b"b", b"c", b"d", b"gone"}
    assert server.client.zscore(ONLY.heartbeats, "me")


def test_a_fetch_of_an_empty_queue_writes_nothing(server: Redis) -> None:
    assert StoredQueue(server.client, "q").fetch("me", 9, 99) == ([], 0)
    assert server.client.dbsize() == 0


def test_what_has_gone_to_another_is_not_acknowledged(server: Redis) -> None:
    put(server, a=b"1", b=b"2")
    queue = StoredQueue(server.client, "q")
    queue.fetch("me", 9, 99)
    server.client.srem(ONLY.fetched("q", "me"), "a")
    queue.acknowledge("me", [b"a", b"b", b"b"])
    assert server.client.hkeys(ONLY.messages("q")) == [b"a"]
    assert queue.fetched("me") == set()


def test_a_message_is_awaited_and_stays_where_it_is(server: Redis) -> None:
    queue = StoredQueue(server.client, "q")
    began = time.monotonic()
    queue.await_message(0.01)
    assert time.monotonic() - began >= 0.01
    waiting = [threading.Thread(target=queue.await_message, args=[20.0]) for _ in range(2)]
    for each in waiting:
        each.start()
    eventually(lambda: server.client.info("clients")["blocked_clients"] == 2)
    put(server, a=b"1", b=b"2")
    for each in waiting:
        each.join(10)
        assert not each.is_alive()
    queue.await_message(20)
    assert server.client.lrange(ONLY.waiting("q"), 0, -1) == [b"a", b"b"]
