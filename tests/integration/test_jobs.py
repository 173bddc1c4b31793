"""Making jobs durable, on a real Redis: whole or not at all, once, and as Dramatiq stores it."""

import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from ingest_service import jobs as jobs_module
from ingest_service.jobs import Entry, Jobs, QueueFull, QueueUnavailable
from mesh.health import Unhealthy
from mesh.queue import connect, use_envelopes
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import (
    JOB_STATE_PENDING,
    DeliverAlert,
    LogInteractions,
    RequestRecord,
)
from tests.integration.processes import Redis


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis") / "data")
    server.start()
    yield server
    server.process.stop()


@pytest.fixture
def jobs(server: Redis) -> Jobs:
    use_envelopes()
    return Jobs(connect(server.url), record_seconds=100, request_seconds=50)


def entry(number: int, request_id: str = "", body: bytes = b"") -> Entry:
    job = LogInteractions()
    job.interactions.add(time_unix_nano=number, request_id=request_id)
    request = RequestRecord(body_hash=body) if request_id else None
    return Entry(job.SerializeToString(), request_id, request)


def stock_broker(server: Redis, queue: str) -> RedisBroker:
    broker: RedisBroker = RedisBroker(client=server.client, middleware=[])  # type: ignore[no-untyped-call]
    broker.declare_queue(queue)
    return broker


def consumed(server: Redis, queue: str) -> list[Message[None]]:
    """Return what the stock broker finds in a queue."""
    broker = stock_broker(server, queue)
    consumer = broker.consume(queue, prefetch=100)
    return [message._message for message in iter(lambda: next(consumer), None)]


def test_a_job_is_what_the_stock_broker_reads(server: Redis, jobs: Jobs) -> None:
    receipts = jobs.commit([entry(1), entry(2)])
    (message,) = consumed(server, "interactions")
    job = LogInteractions.FromString(message.args[0])
    assert message.actor_name == "log_interactions"
    assert [each.time_unix_nano for each in job.interactions] == [1, 2]
    assert [receipt.task_id for receipt in receipts] == [f"{job.job_id}-0", f"{job.job_id}-1"]
    (record,) = jobs.read([job.job_id])
    assert record is not None
    assert (record.state, record.size) == (JOB_STATE_PENDING, 2)


def test_a_job_lies_in_redis_as_the_stock_broker_lays_it(server: Redis, jobs: Jobs) -> None:
    jobs.commit([entry(1)])
    ours = layout(server)
    server.client.delete(*[key for key in ours if key.startswith(b"dramatiq:")])
    broker = stock_broker(server, "interactions")
    broker.enqueue(Message("interactions", "log_interactions", (b"x",), {}, {}))
    theirs = {key: kind for key, kind in layout(server).items() if b"__" not in key}
    assert theirs == ours


def layout(server: Redis) -> dict[bytes, Any]:
    return {key: server.client.type(key) for key in server.client.scan_iter()}


def test_the_books_count_every_interaction(server: Redis, jobs: Jobs) -> None:
    jobs.commit([entry(1), entry(2)])
    jobs.commit([entry(3)])
    assert server.client.hget("sluice:counts", "accepted") == b"3"
    assert sorted(server.client.hvals("sluice:open")) == [b"1", b"2"]


def test_a_request_id_is_taken_once(server: Redis, jobs: Jobs) -> None:
    (first,) = jobs.commit([entry(1, "r-1", b"body")])
    other, again = jobs.commit([entry(2), entry(3, "r-1", b"another")])
    assert other.task_id and other.earlier is None
    assert again.task_id == ""
    assert again.earlier is not None
    assert (again.earlier.task_id, again.earlier.body_hash) == (first.task_id, b"body")
    assert server.client.hget("sluice:counts", "accepted") == b"2"


def test_a_request_id_is_taken_once_within_a_job(server: Redis, jobs: Jobs) -> None:
    first, again = jobs.commit([entry(1, "r-1", b"body"), entry(2, "r-1", b"body")])
    assert again.earlier is not None
    assert again.earlier.task_id == first.task_id
    assert server.client.hget("sluice:counts", "accepted") == b"1"


def test_only_taken_request_ids_make_no_job(server: Redis, jobs: Jobs) -> None:
    jobs.commit([entry(1, "r-1", b"body")])
    jobs.commit([entry(2, "r-1", b"body")])
    assert server.client.llen("dramatiq:interactions") == 1


def test_a_request_id_is_taken_once_by_many_processes(server: Redis, jobs: Jobs) -> None:
    start = threading.Barrier(8)
    seen: list[str] = []

    def process() -> None:
        own = Jobs(connect(server.url), record_seconds=100, request_seconds=50)
        start.wait()
        (receipt,) = own.commit([entry(1, "r-1", b"body")])
        seen.append(receipt.task_id or (receipt.earlier and receipt.earlier.task_id) or "none")

    threads = [threading.Thread(target=process) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert server.client.hget("sluice:counts", "accepted") == b"1"


def test_records_and_request_ids_expire(server: Redis, jobs: Jobs) -> None:
    jobs.commit([entry(1, "r-1", b"body")])
    (record,) = server.client.scan_iter("sluice:jobs:*")
    (request,) = server.client.scan_iter("sluice:request:*")
    assert 90 < server.client.ttl(record) <= 100
    assert 40 < server.client.ttl(request) <= 50
    assert b"r-1" not in request


class LostReply:
    """A connection that is lost after a command reached Redis and before its reply came back."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = ("127.0.0.1", port)
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.lose = b"EVALSHA"
        self.lost = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        losing = False
        with near, far:
            while True:
                for side in select.select([near, far], [], [])[0]:
                    data = side.recv(1 << 20)
                    if not data:
                        return
                    if side is near:
                        losing = self.lose in data and not self.lost
                        far.sendall(data)
                    elif losing and not data.startswith(b"-NOSCRIPT"):
                        self.lost += 1
                        return
                    else:
                        near.sendall(data)


def test_a_lost_reply_is_asked_for_again_and_stores_nothing_twice(server: Redis) -> None:
    use_envelopes()
    proxy = LostReply(server.port)
    jobs = Jobs(connect(proxy.url), record_seconds=100, request_seconds=50)
    (receipt,) = jobs.commit([entry(1, "r-1", b"body")])
    assert proxy.lost == 1
    assert receipt.task_id
    assert server.client.llen("dramatiq:interactions") == 1
    assert server.client.hget("sluice:counts", "accepted") == b"1"


def test_a_connection_that_died_while_idle_is_replaced(server: Redis, jobs: Jobs) -> None:
    (receipt,) = jobs.commit([entry(1)])
    server.process.stop()
    server.start()
    (record,) = jobs.read([receipt.task_id.partition("-")[0]])
    assert record is not None


def test_redis_away_is_said_at_once(server: Redis, jobs: Jobs) -> None:
    server.process.stop()
    with pytest.raises(QueueUnavailable):
        jobs.commit([entry(1)])
    with pytest.raises(QueueUnavailable):
        jobs.read(["x"])
    with pytest.raises(QueueUnavailable):
        jobs.enqueue_alert(RaiseAlertRequest(alert_id="alert-1"))


def test_a_full_redis_takes_nothing(server: Redis, jobs: Jobs) -> None:
    jobs.commit([entry(1)])
    server.client.config_set("maxmemory", "1")
    with pytest.raises(QueueFull):
        jobs.commit([entry(2, "r-2", b"body")])
    server.client.config_set("maxmemory", "0")
    assert server.client.hget("sluice:counts", "accepted") == b"1"
    (receipt,) = jobs.commit([entry(2, "r-2", b"body")])
    assert receipt.task_id


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("appendonly", "no", "append-only"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_redis_that_forgets_is_not_trusted(
    server: Redis, jobs: Jobs, setting: str, value: str, reason: str
) -> None:
    jobs.probe()
    server.client.config_set(setting, value)
    with pytest.raises(Unhealthy, match=reason):
        jobs.probe()


def test_an_alert_is_queued_for_delivery(server: Redis, jobs: Jobs) -> None:
    alert = RaiseAlertRequest(alert_id="alert-1", event_type="PII")
    jobs.enqueue_alert(alert)
    (message,) = consumed(server, "alerts")
    assert message.actor_name == "deliver_alert"
    assert DeliverAlert.FromString(message.args[0]).alert == alert


def test_slots_differ_and_wrap(server: Redis, jobs: Jobs) -> None:
    server.client.set(jobs_module.SLOT_KEY, 998)
    assert [jobs.take_slot() for _ in range(3)] == [999, 0, 1]


def test_errors_of_redis_name_no_payload(server: Redis, jobs: Jobs) -> None:
    server.client.set("dramatiq:interactions", "not a list")
    with pytest.raises(QueueUnavailable) as caught:
        jobs.commit([Entry(b"CANARY")])
    assert "CANARY" not in repr(caught.value)
    assert isinstance(caught.value.__cause__, redis.RedisError)
