"""Making jobs durable, on a real Redis: whole or not at all, once, and as Dramatiq stores it."""

import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from prometheus_client import REGISTRY

from job_store.admission import Admission
from job_store.alert_queue import AlertQueue
from job_store.counts import CountsReader
from job_store.envelope import use_envelopes
from job_store.errors import QueueFull, QueueUnavailable
from job_store.keys import ALERTS, DELIVER_ALERT, INTERACTIONS, ONLY, WRITE_INTERACTIONS
from job_store.partitions import Partitions
from job_store.request_ids import Request
from job_store.scripts import text
from job_store.settings import StoreSettings
from job_store.store import TIME_MARGIN_MICROSECONDS, Entry, Receipt
from mesh.health import Unhealthy
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import (
    JOB_STATE_PENDING,
    DeliverAlert,
    LogInteractions,
)
from tests.kit.proxies import RedisProxy
from tests.kit.servers import Redis
from tests.kit.stores import BlockingJobStore
from tests.kit.threads import on_a_loop
from tests.kit.waiting import eventually


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis") / "data")
    server.start()
    yield server
    server.process.stop()


class Ingest(NamedTuple):
    """What one process of ingest holds."""

    jobs: BlockingJobStore
    alerts: AlertQueue


def process(
    url: str, *, record_seconds: int = 100, request_seconds: int = 50, **limits: Any
) -> Ingest:
    partitions = Partitions.of(StoreSettings(redis_url=url))
    (partition,) = partitions.all
    admission = Admission(partition, **limits)
    jobs = BlockingJobStore(
        partition, admission, record_seconds=record_seconds, request_seconds=request_seconds
    )
    return Ingest(jobs, AlertQueue(partitions, [admission]))


@pytest.fixture
def ingest(server: Redis) -> Ingest:
    ingest = process(server.url)
    ingest.jobs.probe()
    return ingest


@pytest.fixture
def jobs(ingest: Ingest) -> BlockingJobStore:
    return ingest.jobs


@pytest.fixture
def alerts(ingest: Ingest) -> AlertQueue:
    return ingest.alerts


def entry(text: str, request_id: str = "", body: bytes = b"", size: int = 1) -> Entry:
    job = LogInteractions()
    for _ in range(size):
        job.interactions.add(source=text)
    request = Request.of(request_id, body) if request_id else None
    return Entry(job.SerializeToString(), size, request)


def written(server: Redis) -> list[LogInteractions]:
    """Return all jobs that were stored, in order."""
    return [LogInteractions.FromString(each.args[0]) for each in consumed(server, INTERACTIONS)]


def accepted(server: Redis) -> int:
    return CountsReader(server.client).counts().accepted


def latest_time(server: Redis) -> int:
    return int(cast(bytes, server.client.hget(ONLY.times, "last")))


def times(job: LogInteractions) -> range:
    first = job.first_time_unix_micro
    return range(first, first + len(job.interactions))


def stock_broker(server: Redis, queue: str) -> RedisBroker:
    use_envelopes()
    broker: RedisBroker = RedisBroker(client=server.client, middleware=[])  # type: ignore[no-untyped-call]
    broker.declare_queue(queue)
    return broker


def consumed(server: Redis, queue: str) -> list[Message[None]]:
    """Return what the stock broker finds in a queue."""
    broker = stock_broker(server, queue)
    consumer = broker.consume(queue, prefetch=100)
    return [message._message for message in iter(lambda: next(consumer), None)]


def test_a_job_is_what_the_stock_broker_reads(server: Redis, jobs: BlockingJobStore) -> None:
    receipts = jobs.commit([entry("a"), entry("b", size=2), entry("c")])
    (message,) = consumed(server, INTERACTIONS)
    job = LogInteractions.FromString(message.args[0])
    assert message.actor_name == WRITE_INTERACTIONS
    assert [each.source for each in job.interactions] == ["a", "b", "b", "c"]
    assert receipts == [Receipt(job.job_id, first) for first in (0, 1, 3)]
    (record,) = jobs.read([job.job_id])
    assert record is not None
    assert (record.state, record.size) == (JOB_STATE_PENDING, 4)


def test_a_job_lies_in_redis_as_the_stock_broker_lays_it(
    server: Redis, jobs: BlockingJobStore
) -> None:
    jobs.commit([entry("1")])
    ours = layout(server)
    server.client.delete(*[key for key in ours if key.startswith(ONLY.namespace.encode())])
    broker = stock_broker(server, INTERACTIONS)
    broker.enqueue(Message(INTERACTIONS, WRITE_INTERACTIONS, (b"x",), {}, {}))
    theirs = {key: kind for key, kind in layout(server).items() if b"__" not in key}
    assert theirs == ours


def layout(server: Redis) -> dict[bytes, Any]:
    return {key: server.client.type(key) for key in server.client.scan_iter()}


def test_every_interaction_is_counted(server: Redis, jobs: BlockingJobStore) -> None:
    jobs.commit([entry("1"), entry("2")])
    jobs.commit([entry("3")])
    assert accepted(server) == 3
    assert sorted(server.client.hvals(ONLY.open_jobs)) == [b"1", b"2"]


def test_a_request_id_is_taken_once(server: Redis, jobs: BlockingJobStore) -> None:
    first, _ = jobs.commit([entry("1", "r-1", b"body"), entry("2", "r-2", b"body")])
    other, again = jobs.commit([entry("3"), entry("4", "r-2", b"another")])
    assert other.earlier is None
    assert again.earlier is not None
    assert again[:2] == (first.job_id, 1)
    assert again.earlier.body_hash == Request.of("r-2", b"body").body_hash
    assert accepted(server) == 3


def test_a_request_id_is_taken_once_within_a_job(server: Redis, jobs: BlockingJobStore) -> None:
    first, again = jobs.commit([entry("1", "r-1", b"body"), entry("2", "r-1", b"body")])
    assert again[:2] == first[:2]
    assert again.earlier is not None
    assert accepted(server) == 1


def test_a_request_id_belongs_to_its_client(jobs: BlockingJobStore) -> None:
    piece = entry("1").piece
    for client in ("", "a", "b"):
        (receipt,) = jobs.commit([Entry(piece, 1, Request.of("r-1", b"body", client))])
        assert receipt.earlier is None


def test_what_was_decided_is_kept_with_a_request_id(jobs: BlockingJobStore) -> None:
    refused = Request.of("r-1", b"body")._replace(refusals=b"\1")
    batch = Request.of_batch("r-1", b"body")
    parts = [batch.part(0), batch.part(3)._replace(refusals=bytes(range(3)) * 500)]
    piece = entry("1").piece
    jobs.commit([Entry(piece, 1, refused), *[Entry(piece * 3, 3, part) for part in parts]])
    asked = [refused, *parts, batch.part(6), Request.of("r-2", b"body")]
    found = jobs.look_up(asked)
    assert found[3:] == [None, None]
    for record, request, first in zip(found, asked[:3], (0, 1, 4), strict=False):
        assert record is not None
        assert record.refusals == request.refusals
        assert record.body_hash == request.body_hash
        assert record.first_index == first


def test_ids_that_are_looked_up_change_nothing(server: Redis, jobs: BlockingJobStore) -> None:
    before = set(server.client.scan_iter())
    assert jobs.look_up([Request.of("r-1", b"body")]) == [None]
    assert set(server.client.scan_iter()) == before


def test_many_ids_are_looked_up_without_holding_redis(
    server: Redis, jobs: BlockingJobStore
) -> None:
    last = Request.of("r-249", b"body")
    jobs.commit([entry("1", "r-249", b"body")])
    server.client.config_resetstat()
    found = jobs.look_up([Request.of(f"r-{number}", b"body") for number in range(250)])
    assert [record is not None for record in found] == [False] * 249 + [True]
    assert found[-1] is not None
    assert found[-1].body_hash == last.body_hash
    statistics = server.client.info("commandstats")
    assert statistics["cmdstat_evalsha"]["calls"] == 3


def test_a_time_to_live_that_redis_refuses_changes_nothing(server: Redis) -> None:
    for seconds in ({"request_seconds": 0}, {"record_seconds": -1}, {"record_seconds": 2**63}):
        strange = process(server.url, **seconds).jobs
        before = layout(server)
        with pytest.raises(QueueUnavailable):
            strange.commit([entry("1", "r-1", b"body")])
        assert layout(server) == before


def test_only_taken_request_ids_make_no_job(server: Redis, jobs: BlockingJobStore) -> None:
    jobs.commit([entry("1", "r-1", b"body")])
    jobs.commit([entry("2", "r-1", b"body")])
    assert server.client.llen(ONLY.waiting(INTERACTIONS)) == 1


def test_a_request_id_is_taken_once_by_many_processes(
    server: Redis, jobs: BlockingJobStore
) -> None:
    start = threading.Barrier(8)
    seen: list[str] = []

    def commit() -> None:
        own = process(server.url).jobs
        start.wait()
        (receipt,) = own.commit([entry("1", "r-1", b"body")])
        seen.append(receipt.job_id)

    threads = [threading.Thread(target=commit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert accepted(server) == 1


def test_records_and_request_ids_expire(server: Redis, jobs: BlockingJobStore) -> None:
    jobs.commit([entry("1", "r-1", b"body")])
    (record,) = server.client.scan_iter(ONLY.record_prefix + "*")
    (request,) = server.client.scan_iter(ONLY.request_prefix + "*")
    assert 90 < server.client.ttl(record) <= 100
    assert 50 <= server.client.ttl(request) <= 63
    assert b"r-1" not in request


def test_a_request_id_is_known_for_its_whole_time_and_then_forgotten(server: Redis) -> None:
    """Its time to live is cut in windows; whenever in a window it comes, it lives long enough."""
    jobs = process(server.url, request_seconds=1).jobs
    jobs.probe()
    began = time.monotonic()
    number = 0
    while time.monotonic() < began + 2.5:
        number += 1
        stored = time.monotonic()
        jobs.commit([entry("1", f"r-{number}", b"body")])
        known = stored
        while jobs.look_up([Request.of(f"r-{number}", b"body")])[0] is not None:
            known = time.monotonic()
            time.sleep(0.01)
        assert 0.9 < known - stored < 2.5
    eventually(lambda: not list(server.client.scan_iter(ONLY.request_prefix + "*")))


MOST_BYTES_A_REQUEST_ID = 80


def test_request_ids_take_little_memory(server: Redis) -> None:
    """As the local mesh and compose set it up; without, Redis packs half as many together."""
    for setting, value in (("entries", 1000), ("value", 128)):
        server.client.config_set(f"hash-max-ziplist-{setting}", value)
    jobs = process(server.url, request_seconds=24 * 3600).jobs
    count = 100_000
    for start in range(0, count, 1000):
        jobs.commit(
            [entry("", f"client-{number}", b"%d" % number) for number in range(start, start + 1000)]
        )
    taken = 0
    for key in server.client.scan_iter(ONLY.request_prefix + "*", count=1000):
        taken += server.client.memory_usage(key, samples=0) or 0
    used = server.client.info("memory")["used_memory"]
    with server.client.pipeline(transaction=False) as pipeline:
        for key in server.client.scan_iter(ONLY.request_prefix + "*", count=1000):
            pipeline.delete(key)
        pipeline.execute()
    freed = used - server.client.info("memory")["used_memory"]
    print(
        f"a request id takes {taken / count:.1f} bytes by MEMORY USAGE, {freed / count:.1f} in all"
    )
    assert taken / count <= MOST_BYTES_A_REQUEST_ID
    assert freed / count <= MOST_BYTES_A_REQUEST_ID


def test_times_follow_the_clock_of_redis_and_never_repeat(
    server: Redis, jobs: BlockingJobStore
) -> None:
    seconds, _ = server.client.time()
    for number in range(50):
        jobs.commit([entry("x", size=1 + number % 3)])
    handed_out = [each for job in written(server) for each in times(job)]
    assert handed_out == sorted(set(handed_out))
    assert seconds <= handed_out[0] // 1_000_000 <= seconds + 5
    assert latest_time(server) == handed_out[-1]


def test_a_clock_that_is_set_back_does_not_turn_times_back(
    server: Redis, jobs: BlockingJobStore
) -> None:
    """What was handed out last is an hour ahead of the clock of Redis."""
    seconds, _ = server.client.time()
    ahead = (seconds + 3600) * 1_000_000 + 123_457
    server.client.hset(ONLY.times, "last", ahead)
    jobs.commit([entry("x", size=2)])
    process(server.url).jobs.commit([entry("x", size=3)])
    jobs.commit([entry("x")])
    handed_out = [each for job in written(server) for each in times(job)]
    assert handed_out == list(range(ahead + 1, ahead + 7))


def test_a_lost_reply_changes_no_times(server: Redis) -> None:
    proxy = RedisProxy(server.port)
    loss = proxy.lose(b"EVALSHA", spared=b"-NOSCRIPT")
    process(proxy.url).jobs.commit([entry("x", size=2)])
    assert loss.struck.is_set()
    (job,) = written(server)
    assert latest_time(server) == times(job)[-1]


@pytest.mark.parametrize("loss", ["emptied", "restored"])
def test_a_redis_older_than_what_it_handed_out_is_waited_for(
    server: Redis, jobs: BlockingJobStore, loss: str
) -> None:
    """It is noticed by one who knows, and then a process that does not know waits as well."""
    jobs.commit([entry("x")])
    if loss == "restored":
        copy = server.copy()
    knowing = process(server.url).jobs
    for _ in range(20):
        knowing.commit([entry("x", size=100)])
    # Far ahead of the clock, as if that were set back, so that the test sees the wait.
    latest = int(server.client.hincrby(ONLY.times, "last", 1_500_000))
    knowing.commit([entry("x")])
    handed_out = [each for job in written(server) for each in times(job)]
    if loss == "restored":
        server.restore(copy)
        assert latest_time(server) == handed_out[0]
    else:
        server.client.flushall()
    with pytest.raises(Unhealthy, match="older than what it has handed out"):
        knowing.probe()
    with pytest.raises(QueueUnavailable):
        knowing.commit([entry("x")])
    with pytest.raises(QueueUnavailable):
        knowing.look_up([Request.of("r-1", b"body")])
    newcomer = process(server.url).jobs
    with pytest.raises(QueueUnavailable):
        newcomer.commit([entry("x")])
    with pytest.raises(Unhealthy):
        newcomer.probe()
    eventually(lambda: is_well(knowing), 10)
    seconds, microseconds = server.client.time()
    assert seconds * 1_000_000 + microseconds > latest + TIME_MARGIN_MICROSECONDS
    server.client.delete(ONLY.waiting(INTERACTIONS), ONLY.messages(INTERACTIONS))
    for each in (newcomer, knowing, newcomer):
        each.commit([entry("x", size=100)])
    again = [each for job in written(server) for each in times(job)]
    assert len(again) == 300
    assert not set(again) & set(handed_out)


def test_the_margin_counts_from_the_last_look(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who handed out nothing for long does not know what others have been given since."""

    def with_clock(name: str) -> str:
        return text(name).replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)")

    def set_clock(seconds: int) -> None:
        server.client.delete("clock")
        server.client.rpush("clock", 1_700_000_000 + seconds, 0)

    monkeypatch.setattr("job_store.store.text", with_clock)
    set_clock(0)
    idle, busy = process(server.url).jobs, process(server.url).jobs
    idle.commit([entry("x")])
    set_clock(1000)
    idle.probe()
    set_clock(1001)
    busy.commit([entry("x", size=100)])
    handed_out = {each for job in written(server) for each in times(job)}
    server.client.delete(ONLY.times)
    set_clock(1000)
    for _ in range(2):
        with pytest.raises(QueueUnavailable):
            idle.commit([entry("x")])
        # What it sees now tells it nothing new about what was handed out.
        set_clock(1003)
        with pytest.raises(Unhealthy):
            idle.probe()
    set_clock(1005)
    idle.probe()
    idle.probe()
    idle.commit([entry("x")])
    again = {each for job in written(server) for each in times(job)}
    assert again and not again & handed_out


def is_well(jobs: BlockingJobStore) -> bool:
    try:
        jobs.probe()
    except Unhealthy:
        return False
    return True


def test_a_lost_reply_is_asked_for_again_and_stores_nothing_twice(server: Redis) -> None:
    proxy = RedisProxy(server.port)
    loss = proxy.lose(b"EVALSHA", spared=b"-NOSCRIPT")
    jobs = process(proxy.url).jobs
    (receipt,) = jobs.commit([entry("1", "r-1", b"body")])
    assert loss.struck.is_set()
    assert receipt.earlier is None
    assert server.client.llen(ONLY.waiting(INTERACTIONS)) == 1
    assert accepted(server) == 1


def test_a_connection_that_died_while_idle_is_replaced(
    server: Redis, jobs: BlockingJobStore
) -> None:
    (receipt,) = jobs.commit([entry("1")])
    server.process.stop()
    server.start()
    (record,) = jobs.read([receipt.job_id])
    assert record is not None


def test_redis_away_is_said_at_once(
    server: Redis, jobs: BlockingJobStore, alerts: AlertQueue
) -> None:
    server.process.stop()
    with pytest.raises(QueueUnavailable):
        jobs.commit([entry("1")])
    with pytest.raises(QueueUnavailable):
        jobs.read(["x"])
    with pytest.raises(QueueUnavailable):
        alerts.enqueue(RaiseAlertRequest(alert_id="alert-1"))


def test_a_full_redis_takes_nothing(
    server: Redis, jobs: BlockingJobStore, alerts: AlertQueue
) -> None:
    jobs.commit([entry("1", "r-1", b"body")])
    server.client.config_set("maxmemory", "1")
    with pytest.raises(QueueFull):
        jobs.commit([entry("2", "r-2", b"body")])
    with pytest.raises(QueueFull):
        alerts.enqueue(RaiseAlertRequest(alert_id="alert-1"))
    known, new = jobs.look_up([Request.of("r-1", b"body"), Request.of("r-2", b"body")])
    assert known is not None
    assert new is None
    server.client.config_set("maxmemory", "0")
    assert accepted(server) == 1
    (receipt,) = jobs.commit([entry("2", "r-2", b"body")])
    assert receipt.earlier is None


def test_a_full_redis_that_was_emptied_is_waited_for(server: Redis, jobs: BlockingJobStore) -> None:
    jobs.commit([entry("x")])
    server.client.flushall()
    server.client.config_set("maxmemory", "1")
    with pytest.raises(QueueUnavailable):
        jobs.look_up([Request.of("r-1", b"body")])
    with pytest.raises(Unhealthy, match=f"delete the key {ONLY.times}"):
        jobs.probe()


def full() -> float:
    return REGISTRY.get_sample_value("sluice_queue_full", {"partition": "0"}) or 0.0


def test_a_queue_that_fills_is_told_and_turns_away_before_redis_does(
    server: Redis, jobs: BlockingJobStore, alerts: AlertQueue
) -> None:
    jobs.probe()
    assert full() == 0
    used = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory", used * 5 // 4)
    jobs.probe()
    assert full() == 1
    with pytest.raises(QueueFull):
        jobs.commit([entry("1")])
    with pytest.raises(QueueFull):
        alerts.enqueue(RaiseAlertRequest(alert_id="alert-1"))
    server.client.config_set("maxmemory", 0)
    jobs.probe()
    assert full() == 0
    jobs.commit([entry("1")])


def test_what_was_stored_since_the_last_probe_counts(server: Redis) -> None:
    few = process(server.url, max_jobs=2).jobs
    few.probe()
    few.commit([entry("1")])
    few.commit([entry("2")])
    with pytest.raises(QueueFull):
        few.commit([entry("3")])


def test_what_changes_or_is_full_is_to_be_measured_soon(server: Redis) -> None:
    (partition,) = Partitions.of(StoreSettings(redis_url=server.url)).all
    admission = Admission(partition, max_jobs=1, max_alerts=1)
    on_a_loop(admission.measure())
    assert not admission.is_stale
    admission.add_alert(10, at_edge=False)
    assert admission.is_stale
    on_a_loop(admission.measure())
    assert not admission.is_stale
    admission.add_job(10)
    assert admission.is_stale
    server.client.hset(ONLY.messages(INTERACTIONS), "id", "message")
    on_a_loop(admission.measure())
    assert admission.is_full
    assert admission.is_stale


def test_a_probe_is_three_round_trips(server: Redis, jobs: BlockingJobStore) -> None:
    def calls() -> dict[str, int]:
        counted: Any = server.client.info("commandstats")
        return {name: counted.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in counts}

    counts = {"evalsha": 2, "get": 1, "info": 2, "hlen": 2, "set": 0, "hset": 0}
    before = calls()
    jobs.probe()
    after = calls()
    # The INFO in it is one; the other one is that of this test.
    assert {name: after[name] - before[name] for name in counts} == counts


@pytest.mark.parametrize("bound", [{"max_alerts": 3}, {"max_alert_bytes": 100_000}])
def test_queued_alerts_are_bounded_and_leave_room_for_submissions(
    server: Redis, bound: dict[str, int]
) -> None:
    jobs, alerts = process(server.url, **bound)
    jobs.probe()

    def fill() -> int:
        for number in range(100):
            alert = RaiseAlertRequest(alert_id=f"alert-{number}", message="x" * 30_000)
            try:
                alerts.enqueue(alert)
            except QueueFull:
                return number
        return 100

    assert 3 <= fill() <= 4
    jobs.probe()
    assert fill() == 0
    assert full() == 0
    jobs.commit([entry("1")])
    server.client.delete(ONLY.waiting(ALERTS), ONLY.messages(ALERTS))
    jobs.probe()
    alerts.enqueue(RaiseAlertRequest(alert_id="alert-1"))


@pytest.mark.parametrize("bound", [{"max_alerts": 6}, {"max_alert_bytes": 200_000}])
def test_noise_leaves_room_for_the_alerts_of_refusals(server: Redis, bound: dict[str, int]) -> None:
    """What the gateway refuses costs its sender nothing, so it may not push out the others."""
    jobs, alerts = process(server.url, **bound)
    jobs.probe()

    def fill(at_edge: bool) -> int:
        for number in range(100):
            name = f"alert-{at_edge}-{number}"
            try:
                alerts.enqueue(
                    RaiseAlertRequest(alert_id=name, message="x" * 30_000, at_edge=at_edge)
                )
            except QueueFull:
                return number
        return 100

    assert 3 <= fill(at_edge=True) <= 4
    jobs.probe()
    assert fill(at_edge=True) == 0
    assert 2 <= fill(at_edge=False) <= 4
    jobs.probe()
    assert fill(at_edge=False) == 0


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("appendonly", "no", "append-only"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_redis_that_forgets_is_not_trusted(
    server: Redis, jobs: BlockingJobStore, setting: str, value: str, reason: str
) -> None:
    jobs.probe()
    server.client.config_set(setting, value)
    with pytest.raises(Unhealthy, match=reason):
        jobs.probe()


def test_an_alert_is_queued_for_delivery_once(server: Redis, alerts: AlertQueue) -> None:
    alert = RaiseAlertRequest(alert_id="alert-1", event_type="PII")
    alerts.enqueue(alert)
    alerts.enqueue(alert)
    (message,) = consumed(server, ALERTS)
    assert message.actor_name == DELIVER_ALERT
    assert DeliverAlert.FromString(message.args[0]).alert == alert


def test_an_alert_that_waits_can_be_read(server: Redis, alerts: AlertQueue) -> None:
    assert alerts.read("alert-1") is None
    alert = RaiseAlertRequest(alert_id="alert-1", event_type="PII", detectors=["us_ssn"])
    alerts.enqueue(alert)
    assert alerts.read("alert-1") == alert
    server.client.hset(ONLY.messages(ALERTS), "alert-2", b"CANARY")
    assert alerts.read("alert-2") is None
    server.process.stop()
    with pytest.raises(QueueUnavailable):
        alerts.read("alert-1")


def test_errors_of_redis_name_no_payload(server: Redis, jobs: BlockingJobStore) -> None:
    server.client.set(ONLY.waiting(INTERACTIONS), "not a list")
    with pytest.raises(QueueUnavailable) as caught:
        jobs.commit([Entry(b"CANARY", 1)])
    assert "CANARY" not in repr(caught.value)
    assert isinstance(caught.value.__cause__, redis.RedisError)


def test_processes_share_the_secret_that_lies_with_the_request_ids(
    server: Redis, jobs: BlockingJobStore
) -> None:
    other = process(server.url).jobs
    with pytest.raises(QueueUnavailable):
        other.look_up([Request.of("r-1", b"body")])
    other.probe()
    assert other.secret == jobs.secret
    assert len(jobs.secret) == 32
    assert other.look_up([Request.of("r-1", b"body")]) == [None]
    before = jobs.secret
    server.client.flushall()
    for each in (jobs, other):
        each.probe()
    assert jobs.secret == other.secret != before


def test_the_id_of_an_alert_cannot_be_found_by_trying_all_bodies(jobs: BlockingJobStore) -> None:
    request = Request.of("r-1", b"123-45-6789")
    assert request.alert_id(jobs.secret) == Request.of("r-1", b"123-45-6789").alert_id(jobs.secret)
    named = {request.alert_id(secret, place) for secret in (jobs.secret, b"x") for place in (0, 1)}
    assert len(named) == 4


def test_a_full_redis_tells_the_number_of_partitions_to_who_starts(server: Redis) -> None:
    partitions = Partitions.of(StoreSettings(redis_url=server.url))
    partitions.require_agreement()
    server.client.config_set("maxmemory", "1")
    partitions.require_agreement()
    server.client.config_set("maxmemory", "0")
    others = Partitions.of(StoreSettings(redis_url=server.url, redis_partitions=2))
    with pytest.raises(Unhealthy, match="set it to 1"):
        others.require_agreement()
