"""The rows of the fault table: how each fault strikes, and how long recovery may take.

What a row must keep is the same for all and is the checker's business; a row adds only what is
particular to it (`scene.expect`). Rows that cannot run here are in README.md, with the reason.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from bench.usage import usage_of
from job_store.records import place
from sluice.alert.v1 import alert_service_pb2
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from sluice.job.v1.job_pb2 import JobRecord
from sluice.queue.v1.envelope_pb2 import Envelope
from tests.faults import history
from tests.faults.checker import recorded, reported
from tests.faults.load import Caller
from tests.faults.scene import Scene, at_once
from tests.faults.stage import HEARTBEAT_SECONDS, ONE_OF_EACH, TWO_OF_EACH, Kind
from tests.kit.proxies import EMPTY_REPLY, Ending, Lost
from worker.dramatiq_queue.dead_letters import DeadLetters

DEFAULT_HEARTBEAT_SECONDS = 8.0

ALERT = alert_service_pb2.DESCRIPTOR.services_by_name["AlertService"].full_name

# Words by which the proxy knows what our processes ask of Redis.
COMMIT = (b"sluice:open", b"dramatiq:interactions.msgs")
FETCH = (b"$5\r\nfetch\r\n", b"$12\r\ninteractions\r\n")
ACK = (b"$3\r\nack\r\n", b"$12\r\ninteractions\r\n")
# Three keys, the first of them the job records of a second.
FINISH = (b"$1\r\n3\r\n$20\r\nsluice:jobs:",)


@dataclass(frozen=True)
class Row:
    """One row of the table. `strike` returns when the fault is over, or has been left to heal."""

    name: str
    what: str
    bound: float
    """Seconds within which all must be well again, counted from `scene.lift()`."""
    strike: Callable[[Scene], None]
    kind: Kind = TWO_OF_EACH
    rate: float = 80.0
    """Calls a second of the load; 0 for none."""
    dead_letters: int | None = 0
    """How many dead letters the row is to leave; None when `clean` looks at them."""
    no_call_fails: bool = False
    """Whether no call of the load may end without an answer."""
    spends_the_mesh: bool = False
    """Whether no other row may follow on this mesh."""
    in_tests: bool = True
    """Whether `make test` runs it."""
    only_by_name: bool = False
    """Whether it runs only when it is asked for, since it takes so long."""
    clean: Callable[[Scene, dict[str, Any]], None] | None = None
    """Looks at what is particular to the row and removes what it left."""


# Processes that die.


def kill_ingest(scene: Scene) -> None:
    victims = scene.random.sample(scene.stage.ingest, scene.random.choice((1, 2)))
    scene.lift()
    for name in victims:
        scene.kill(name)


def kill_worker(scene: Scene) -> None:
    """Kill workers with jobs in hand; what they held is given to others."""
    victims = scene.random.sample(scene.stage.workers, scene.random.choice((1, 2)))
    with scene.frozen("influxdb"):
        scene.until(
            lambda: len([each for each in scene.in_hand().values() if each]) >= 2,
            "the workers did not take jobs",
        )
        scene.lift()
        for name in victims:
            scene.kill(name)


def kill_worker_before_it_tells(scene: Scene) -> None:
    """Kill a worker that has written to InfluxDB, before Redis hears of it: twice written, once
    there.
    """
    for marks in (FINISH, ACK):
        loss = scene.redis_proxy.lose(*marks, lost=Lost.REQUEST, ending=Ending.SILENCE)
        scene.until(loss.struck.is_set, "no worker got that far")
        held = scene.open_jobs()
        scene.lift()
        scene.kill("worker")
        scene.until(lambda held=held: not held & scene.open_jobs(), "the jobs were not taken over")  # type: ignore[misc]
        if marks is FINISH:
            scene.expect(
                any(_record(scene, job).attempts > 1 for job in held), "no job was run twice"
            )


def stop_worker_past_its_heartbeat(scene: Scene) -> None:
    """Let a worker be taken for dead, and come back to work that others have done meanwhile."""
    victim = scene.random.choice(scene.stage.workers)
    with scene.frozen("influxdb"):
        scene.until(
            lambda: len([each for each in scene.in_hand().values() if each]) >= 2,
            "the workers did not take jobs",
        )
        pid = scene.supervisor.pid(victim)
        os.kill(pid, signal.SIGSTOP)
    try:
        held = scene.open_jobs()
        seconds = HEARTBEAT_SECONDS + 10
        scene.until(lambda: not held & scene.open_jobs(), "nobody took over", seconds)
    finally:
        scene.lift()
        os.kill(pid, signal.SIGCONT)


def kill_gateway(scene: Scene) -> None:
    scene.lift()
    scene.kill("api_gateway")


def kill_alert_service(scene: Scene) -> None:
    """Kill it again and again, to hit it between the steps of a report."""
    for _ in range(3):
        scene.lift()
        pid = scene.kill("alert_service")
        scene.until(
            lambda pid=pid: scene.supervisor.pid("alert_service") not in (0, pid),  # type: ignore[misc]
            "it was not started again",
        )
        scene.until(
            lambda: scene.is_serving(scene.mesh.settings.alert_grpc_port), "it does not serve"
        )
        scene.a_moment(0.0, 0.5)


def hang_alert_service(scene: Scene) -> None:
    with scene.frozen("alert_service"):
        queued = scene.count("fail")
        scene.until(lambda: scene.count("fail") > queued + 5, "nothing was refused any more")
    scene.lift()


def stop_alert_service_for_long(scene: Scene) -> None:
    """Long enough for clients that wait ever longer between their attempts to show it."""
    scene.supervisor.stop_program("alert_service")
    time.sleep(scene.random.uniform(25, 30))
    scene.supervisor.start_program("alert_service")
    scene.lift()
    port = scene.mesh.settings.ingest_grpc_port
    scene.until(lambda: scene.is_serving(port, service=ALERT), "ingest does not see it", 10)


def restart_everything(scene: Scene, rounds: int = 1) -> None:
    """Restart every process that serves or works, one after the other, as a deployment does."""
    names = [*scene.stage.ingest, *scene.stage.workers, "alert_service"]
    for _ in range(rounds):
        scene.random.shuffle(names)
        for name in names:
            scene.supervisor.stop_program(name)
            status = scene.supervisor.programs()[name]["exitstatus"]
            scene.expect(status == 0, f"{name} ended with status {status}")
            scene.supervisor.start_program(name)
            scene.mesh.wait_healthy()
    scene.lift()


# Redis.


def kill_redis(scene: Scene) -> None:
    scene.lift()
    scene.kill("redis")


def kill_redis_for_long(scene: Scene) -> None:
    scene.kill_and_hold("redis")
    ports = range(
        scene.mesh.settings.ingest_grpc_port,
        scene.mesh.settings.ingest_grpc_port + scene.mesh.settings.ingest_processes,
    )
    scene.until(
        lambda: not any(scene.is_serving(port) for port in ports), "ingest serves without Redis", 3
    )
    time.sleep(12)
    scene.supervisor.start_program("redis")
    scene.lift()


def kill_redis_while_jobs_wait(scene: Scene) -> None:
    """The fault that cost stock Dramatiq two of four jobs."""
    scene.kill_and_hold("influxdb")
    scene.until(lambda: sum(scene.in_hand().values()) >= 4, "the workers did not take jobs")
    scene.kill_and_hold("redis")
    scene.a_moment(1.0, 3.0)
    parts = ["redis", "influxdb"]
    scene.random.shuffle(parts)
    for name in parts:
        scene.supervisor.start_program(name)
        scene.a_moment(0.0, 1.0)
    scene.lift()


def hang_redis(scene: Scene) -> None:
    """Redis answers nothing for longer than its clients wait."""
    port = scene.mesh.settings.ingest_grpc_port
    times = []
    with scene.frozen("redis"):
        end = time.monotonic() + 7
        while time.monotonic() < end:
            begun = time.monotonic()
            scene.is_serving(port)
            times.append(time.monotonic() - begun)
            time.sleep(0.05)
    scene.lift()
    # The median, since a busy machine makes single answers late; a blocked event loop all of them.
    median = statistics.median(times)
    scene.expect(median < 0.1, f"health answers only after {median:.2f} s")


def cut_redis_connections(scene: Scene) -> None:
    """Kill every connection, again and again."""
    for _ in range(10):
        scene.redis.client_kill_filter(_type="normal", skipme=True)
        scene.a_moment(0.05, 0.3)
    scene.lift()


def tear_redis_log(scene: Scene) -> None:
    """No byte more fits into the append-only file: a write is torn and Redis exits."""
    pid = scene.supervisor.pid("redis")
    _limit_files(pid, _log_size(scene) + scene.random.randrange(100, 5000))
    scene.until(lambda: scene.supervisor.pid("redis") not in (0, pid), "Redis did not restart")
    scene.lift()


def fill_redis_disk(scene: Scene) -> None:
    """As above, but with everysec, which keeps Redis up: it refuses writes until there is room."""
    pid = scene.supervisor.pid("redis")
    _limit_files(pid, _log_size(scene) + scene.random.randrange(100, 5000))
    port = scene.mesh.settings.ingest_grpc_port
    scene.until(lambda: not scene.is_serving(port), "ingest serves, though nothing is durable")
    _expect_reason(scene, "could not write its append-only file")
    scene.a_moment(1.0, 2.0)
    _limit_files(pid, resource.RLIM_INFINITY)
    scene.lift()


def _log_size(scene: Scene) -> int:
    """Return the size of the file that Redis appends to, the newest part of its log."""
    parts = (scene.stage.state / "redis" / "appendonlydir").glob("*.incr.aof")
    return max(parts, key=lambda part: part.stat().st_mtime_ns).stat().st_size


def misconfigure_redis(scene: Scene) -> None:
    """A Redis that may lose what it acknowledges is refused, from its start and later."""
    path = scene.stage.state / "config" / "redis.conf"
    port = scene.mesh.settings.ingest_grpc_port
    good = path.read_text()
    path.write_text(good.replace("appendonly yes", "appendonly no"))
    scene.supervisor.restart("redis")
    try:
        scene.until(lambda: not scene.is_serving(port), "ingest serves without AOF")
        _expect_reason(scene, "no append-only file")
        _expect_unavailable(scene)
    finally:
        path.write_text(good)
        scene.supervisor.restart("redis")
    scene.until(lambda: scene.is_serving(port), "ingest did not recover")
    scene.redis.config_set("maxmemory-policy", "allkeys-lru")
    scene.until(lambda: not scene.is_serving(port), "ingest serves though Redis evicts")
    _expect_reason(scene, "may evict")
    _expect_unavailable(scene)
    scene.redis.config_set("maxmemory-policy", "noeviction")
    scene.lift()


def fill_redis(scene: Scene) -> None:
    """Submit while nothing drains, until there is no room: 429 comes before Redis refuses."""
    _submit_until_refused(scene, "all work and no play " * 1000)
    errors = scene.redis.info("errorstats")
    scene.expect("errorstat_OOM" not in errors, "Redis ran out of memory")
    scene.supervisor.start_program("influxdb")
    scene.lift()


def limit_redis(scene: Scene) -> None:
    """Take Redis to its memory limit with jobs in it: nothing more goes in, and all comes out."""
    scene.supervisor.stop_program("influxdb")
    scene.until(lambda: scene.redis.hlen("dramatiq:interactions.msgs") >= 20, "no backlog grew")
    (limit,) = scene.redis.config_get("maxmemory").values()
    scene.redis.config_set("maxmemory", 1)
    try:
        caller = scene.caller()
        scene.until(lambda: caller.submit(caller.body()).status == 429, "submissions are taken")
        caller.close()
        scene.supervisor.start_program("influxdb")
        scene.until(
            lambda: not scene.redis.exists("dramatiq:interactions.msgs"), "the workers are stuck"
        )
    finally:
        scene.redis.config_set("maxmemory", str(limit))
    scene.lift()


def fill_queue(scene: Scene) -> None:
    """Submit while nothing drains, until as many jobs wait as may."""
    _submit_until_refused(scene, "")
    scene.supervisor.start_program("influxdb")
    scene.lift()


def _submit_until_refused(scene: Scene, filler: str) -> None:
    scene.supervisor.stop_program("influxdb")
    caller = scene.caller()
    statuses: Counter[int] = Counter()

    def is_full() -> bool:
        body = caller.body()
        body["data"]["filler"] = filler
        statuses[caller.submit(body).status] += 1
        # The first refusals may be followed by some room: it is measured from time to time.
        return statuses[429] >= 50

    scene.until(is_full, "nobody was told to come back later")
    scene.expect(set(statuses) == {200, 429}, f"callers got {sorted(statuses)}")
    scene.until(lambda: _is_told_when_to_come_back(scene), "429 without Retry-After", 5)
    caller.close()


# Replies that get lost.


def lose_fetch_reply(scene: Scene) -> None:
    """Redis believes that the worker has the jobs; the worker has never seen them."""
    _lose_each(scene, FETCH, EMPTY_REPLY)


def lose_ack_reply(scene: Scene) -> None:
    _lose_each(scene, ACK)


def lose_commit_reply(scene: Scene) -> None:
    """The submission is stored, and ingest cannot know."""
    _lose_each(scene, COMMIT)


def kill_ingest_before_commit(scene: Scene) -> None:
    """The alert is out, the submission is not on record, and ingest is gone."""
    _kill_ingest_at_commit(scene, Lost.REQUEST)


def kill_ingest_after_commit(scene: Scene) -> None:
    """The submission is on record, and nobody was told."""
    _kill_ingest_at_commit(scene, Lost.REPLY)


# InfluxDB.


def kill_influxdb(scene: Scene) -> None:
    scene.lift()
    scene.kill("influxdb")


def stop_influxdb(scene: Scene) -> None:
    scene.supervisor.stop_program("influxdb")
    scene.until(lambda: len(scene.open_jobs()) >= 20, "nothing was accepted any more")
    scene.supervisor.start_program("influxdb")
    scene.lift()


def stop_influxdb_for_ten_minutes(scene: Scene) -> None:
    """The backlog lies in Redis: the workers hold what they have in hand and no more."""
    before = _resident_bytes(scene)
    scene.kill_and_hold("influxdb")
    time.sleep(600)
    grown = _resident_bytes(scene) - before
    scene.supervisor.start_program("influxdb")
    scene.lift()
    scene.expect(grown < 64 * 2**20, f"the workers have grown by {grown >> 20} MiB")


def hang_influxdb(scene: Scene) -> None:
    with scene.frozen("influxdb"):
        # Longer than the worker waits for an answer.
        time.sleep(7)
    scene.lift()


def wrong_answers(*statuses: int) -> Callable[[Scene], None]:
    """Return a strike in which InfluxDB answers writes with each of these statuses for a while."""

    def strike(scene: Scene) -> None:
        for status in statuses:
            seen = scene.influx_proxy.wrong_answers
            scene.influx_proxy.wrong_status = status
            scene.until(
                lambda seen=seen: scene.influx_proxy.wrong_answers >= seen + 3,  # type: ignore[misc]
                "nobody was told",
            )
        scene.influx_proxy.forgive()
        scene.lift()

    return strike


def conflict_in_influxdb(scene: Scene) -> None:
    """Somebody has written `source` as a number, so that no point with a source fits any more."""
    connection = http.client.HTTPConnection(
        scene.mesh.influx_url.removeprefix("http://"), timeout=10
    )
    line = f"interactions,verdict=stranger source=1 {time.time_ns()}"
    connection.request("POST", "/write?db=logs", line, scene.mesh.influx_headers("writer"))
    scene.expect(connection.getresponse().status == 204, "the conflict could not be made")
    connection.close()
    scene.start_load(80.0)
    scene.until(lambda: scene.dead_letters() >= 3, "nothing was refused by InfluxDB")
    scene.stop_load()
    # No recovery without a hand: but what has no source flows on.
    scene.lift()


def only_conflicts_are_kept(scene: Scene, verdict: dict[str, Any]) -> None:
    """N - 1 rows: of all that was promised, what has a source is in dead letters, no more."""
    told = history.read(scene.path)
    bad = {key for key, each in told.submissions.items() if each.has_source and each.is_promised}
    kept = set(verdict["kept"])
    scene.expect(kept == bad, f"{len(kept)} are kept for replay where {len(bad)} belong")


def replay_dead_letters(scene: Scene) -> None:
    """What InfluxDB refused for good is replayed once it would take it, and is there once."""
    caller = scene.caller()
    bodies = [caller.body(repeatable=True) for _ in range(10)]
    scene.influx_proxy.only = bodies[4]["data"]["key"].encode()
    scene.influx_proxy.wrong_status = 400
    caller.submit_batch(bodies)
    caller.close()
    scene.until(lambda: scene.dead_letters() == 1, "nothing became a dead letter")
    scene.until(lambda: not scene.open_jobs(), "the others do not flow")
    scene.influx_proxy.forgive()
    letters = DeadLetters(scene.redis)
    for letter in list(letters.find()):
        scene.expect(letter.failed == 1, f"{letter.failed} interactions failed")
        letters.replay(letter)
    scene.lift()


# Callers.


def repeat_at_once(scene: Scene) -> None:
    """Five callers with one request_id get one receipt; one with another body gets 409."""
    callers = [scene.caller() for _ in range(5)]
    for number in range(8):
        body = callers[0].body(refused=number % 2 == 1, repeatable=True)
        answers = at_once(5, lambda n, body=body: callers[n].insist(body))  # type: ignore[misc]
        scene.expect(len(set(answers)) == 1, f"one request_id got {len(set(answers))} answers")
        if number % 2 == 0:
            other = {"data": {"key": "another body"}, "request_id": body["request_id"]}
            status, _ = callers[0].post("/submit", other)
            scene.expect(status == 409, f"another body got {status}")
    for caller in callers:
        caller.close()
    scene.lift()


def go_away(scene: Scene) -> None:
    """Callers hang up, or have a deadline, after 5 to 500 ms, while Redis is slow to confirm."""
    scene.redis_proxy.delays = (COMMIT[1], 0.1)
    caller = scene.caller()
    channel = grpc.insecure_channel(scene.mesh.gateway)
    stub = IngestServiceStub(channel)
    bodies = []
    for milliseconds in (5, 20, 40, 70, 90, 100, 105, 110, 120, 150, 200, 300, 500):
        for refused in (False, True):
            for call in (_hang_up, _give_up):
                body = caller.body(refused=refused, repeatable=scene.random.random() < 0.5)
                bodies.append(body)
                seconds = milliseconds / 1000 * scene.random.uniform(0.9, 1.1)
                call(scene, caller, stub, body, seconds)
    scene.redis_proxy.forgive()
    for body in bodies:
        if "request_id" in body:
            scene.expect(bool(caller.insist(body).receipt), "a repeated call got no receipt")
    channel.close()
    caller.close()
    scene.lift()


def no_half_state(scene: Scene, _verdict: dict[str, Any]) -> None:
    """Nobody died, so whatever has a report must be on record, and the other way round."""
    rows = {
        str(data.get("key"))
        for row in recorded(scene.mesh.influx_url, scene.mesh.influx_headers())
        if row["verdict"] == "rejected" and isinstance(data := json.loads(row["payload"]), dict)
    }
    reports = set(reported(scene.mesh.settings.reports_dir))
    half = [key for key in rows ^ reports if key.startswith(scene.prefix)]
    scene.expect(not half, f"{len(half)} refusals have a report or a row and not both")


def submit_in_one_moment(scene: Scene) -> None:
    """A thousand submissions in one call: one series, and for a coarse clock one time."""
    caller = scene.caller()
    caller.submit_batch([caller.body(repeatable=n % 2 == 0) for n in range(1000)])
    caller.close()
    scene.lift()


# Messages that nobody can carry out.


def poison(scene: Scene) -> None:
    """Bytes that are no message lie in the queue."""
    message = b"\xff\xfe\x00" + scene.canary.encode() + b"\x80"
    _enqueue(scene, message)
    scene.lift()
    scene.until(lambda: scene.dead_letters() == 1, "the poison was not set aside")


def deploy_out_of_order(scene: Scene) -> None:
    """Ingest is of a later version and names an actor that the workers get only then."""
    with contextlib.ExitStack() as stack:
        for name in scene.stage.workers:
            stack.enter_context(scene.frozen(name))
        jobs = scene.until(lambda: _waiting(scene, 20), "no jobs wait")
        _rename_actor(scene, jobs, "write_interactions_v2")
        others = scene.open_jobs() - set(jobs)
    scene.until(lambda: not others & scene.open_jobs(), "the others do not flow")
    scene.a_moment(1.0, 3.0)
    scene.expect(set(jobs) <= scene.open_jobs(), "a job was settled by a worker without its actor")
    scene.expect(scene.dead_letters() == 0, "what was for a later version became a dead letter")
    # The later workers are there: to them the name means what it means to these.
    _rename_actor(scene, jobs, "write_interactions")
    scene.lift()


def remove_dead_letters(scene: Scene, _verdict: dict[str, Any]) -> None:
    for queue in ("interactions", "alerts"):
        scene.redis.delete(f"dramatiq:{queue}.XQ", f"dramatiq:{queue}.XQ.msgs")
    scene.redis.delete("sluice:dead")


# The disk of the reports.


def block_reports(scene: Scene) -> None:
    """A file stands where the directory of the reports was: even root can write nothing."""
    folder = scene.mesh.settings.reports_dir
    aside = folder.with_name("aside")
    port = scene.mesh.settings.alert_grpc_port
    folder.rename(aside)
    folder.write_text("")
    try:
        scene.until(lambda: not scene.is_serving(port), "the alert service serves all the same")
        refused = scene.count("fail")
        scene.until(lambda: scene.count("fail") > refused + 5, "nothing is refused any more")
    finally:
        folder.unlink()
        aside.rename(folder)
    scene.lift()


def fill_reports(scene: Scene) -> None:
    """No byte more fits on the disk of the reports."""
    port = scene.mesh.settings.alert_grpc_port
    pid = scene.supervisor.pid("alert_service")
    _limit_files(pid, 0)
    try:
        scene.until(lambda: not scene.is_serving(port), "the alert service serves all the same")
        refused = scene.count("fail")
        scene.until(lambda: scene.count("fail") > refused + 5, "nothing is refused any more")
    finally:
        _limit_files(pid, resource.RLIM_INFINITY)
    scene.lift()


# Time.


def step_clocks(scene: Scene) -> None:
    """Set the clocks of one room or both by an hour, forth and back."""
    for hours in (1, -1, 0):
        rooms = scene.random.choice((["worker"], ["ingest_service"], ["worker", "ingest_service"]))
        for room in rooms if hours else ["worker", "ingest_service"]:
            scene.stage.set_clock(room, hours * 3600.0)
        scene.a_moment(1.0, 2.0)
    scene.lift()


_POISON_ID = "faults-poison"


def _waiting(scene: Scene, count: int) -> list[bytes]:
    """Return the first jobs in the queue, none as long as there are fewer."""
    jobs = cast(list[bytes], scene.redis.lrange("dramatiq:interactions", 0, count - 1))
    return jobs if len(jobs) == count else []


def _rename_actor(scene: Scene, jobs: list[bytes], actor: str) -> None:
    for job in jobs:
        stored = cast(bytes, scene.redis.hget("dramatiq:interactions.msgs", cast(str, job)))
        envelope = Envelope.FromString(stored)
        envelope.actor_name = actor
        message = cast(str, envelope.SerializeToString())
        scene.redis.hset("dramatiq:interactions.msgs", cast(str, job), message)


def _resident_bytes(scene: Scene) -> int:
    workers = {name: scene.supervisor.pid(name) for name in scene.stage.workers}
    return usage_of(workers).resident_bytes["worker"]


def _enqueue(scene: Scene, message: bytes) -> None:
    with scene.redis.pipeline(transaction=True) as transaction:
        transaction.hset("dramatiq:interactions.msgs", _POISON_ID, cast(str, message))
        transaction.rpush("dramatiq:interactions", _POISON_ID)
        transaction.execute()


def _lose_each(scene: Scene, marks: tuple[bytes, ...], spared: bytes = b"") -> None:
    for ending in (Ending.RESET, Ending.SILENCE):
        loss = scene.redis_proxy.lose(*marks, ending=ending, spared=spared)
        scene.until(loss.struck.is_set, "there was no reply to lose")
        scene.a_moment()
    scene.lift()


def _kill_ingest_at_commit(scene: Scene, lost: Lost) -> None:
    caller = scene.caller()
    with ThreadPoolExecutor(1) as pool:
        for refused in (True, False):
            loss = scene.redis_proxy.lose(*COMMIT, lost=lost, ending=Ending.SILENCE)
            answer = pool.submit(caller.insist, caller.body(refused=refused, repeatable=True))
            scene.until(loss.struck.is_set, "ingest did not get that far")
            scene.lift()
            scene.kill("ingest_service")
            scene.expect(bool(answer.result(60).receipt), "a repeated call got no receipt")
    caller.close()


def _hang_up(
    scene: Scene, caller: Caller, _stub: IngestServiceStub, body: dict[str, Any], seconds: float
) -> None:
    """Send a request and hang up."""
    host, port = scene.mesh.gateway.split(":")
    content = json.dumps(body).encode()
    head = (
        f"POST /submit HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    caller.invoke(body)
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(head.encode() + content)
        time.sleep(seconds)
    caller.note(body, 0, {})


def _give_up(
    _scene: Scene, caller: Caller, stub: IngestServiceStub, body: dict[str, Any], seconds: float
) -> None:
    """Make a gRPC call with a deadline."""
    request = json_format.ParseDict(body, SubmitRequest())
    caller.invoke(body)
    try:
        caller.note(body, 200, {"task_id": stub.Submit(request, timeout=seconds).task_id})
    except grpc.RpcError as error:
        call = cast(grpc.Call, error)
        refused = call.code() is grpc.StatusCode.INVALID_ARGUMENT
        caller.note(body, 400 if refused else 0, {"details": details_of(call)})


def details_of(call: grpc.Call) -> list[dict[str, Any]]:
    """Return the error details of a gRPC call as JSON has them."""
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            info = error_details_pb2.ErrorInfo()
            for each in status.details:
                if each.Unpack(info):
                    return [{"@type": ".ErrorInfo", "metadata": dict(info.metadata)}]
    return []


def _record(scene: Scene, job: bytes) -> JobRecord:
    found = cast(bytes | None, scene.redis.hget(*place(job.decode())))
    return JobRecord.FromString(found or b"")


def _limit_files(pid: int, size: int) -> None:
    """Let no file that a process writes grow beyond `size`, as a full disk would."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def _expect_reason(scene: Scene, reason: str) -> None:
    def told() -> bool:
        return any(
            reason in str(line["reason"])
            for name in scene.stage.ingest
            for line in scene.log_lines(name, "component")
        )

    scene.until(told, f"no log says: {reason}", 10)


def _is_told_when_to_come_back(scene: Scene) -> bool:
    connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=10)
    headers = {"Content-Type": "application/json"}
    try:
        body = json.dumps({"data": {"key": "told"}}).encode()
        connection.request("POST", "/submit", body, headers)
        answer = connection.getresponse()
        return answer.status == 429 and answer.getheader("retry-after") is not None
    finally:
        connection.close()


def _expect_unavailable(scene: Scene) -> None:
    caller = scene.caller()

    def refused() -> bool:
        return caller.submit(caller.body()).status == 503

    scene.until(refused, "callers are not told")
    caller.close()


CLOCKED = Kind("two workers with clocks to set", {"worker_processes": 2}, clocked=True)
LAZY_DISK = Kind("Redis with everysec", {"redis_fsync": "everysec"})
LITTLE_MEMORY = Kind("little memory", {"redis_memory": "6mb"})
FEW_JOBS = Kind("few jobs", environment={"SLUICE_MAX_QUEUED_JOBS": "50"})
CONFLICT = Kind("conflict")
DEFAULTS = Kind(
    "default heartbeat",
    {"worker_processes": 2},
    {"SLUICE_HEARTBEAT_SECONDS": str(DEFAULT_HEARTBEAT_SECONDS)},
)

REDELIVERED = HEARTBEAT_SECONDS + 5

ROWS = (
    Row("ingest-kill", "kill -9 of one or both ingest processes", 10, kill_ingest),
    Row("worker-kill", "kill -9 of workers with jobs in hand", REDELIVERED, kill_worker),
    Row(
        "worker-kill-defaults",
        "the same with the default heartbeat of 8 s",
        DEFAULT_HEARTBEAT_SECONDS + 5,
        kill_worker,
        kind=DEFAULTS,
        in_tests=False,
    ),
    Row(
        "worker-stop",
        "SIGSTOP of a worker past its heartbeat, then SIGCONT",
        5,
        stop_worker_past_its_heartbeat,
    ),
    Row("redis-kill", "kill -9 of Redis", REDELIVERED, kill_redis),
    Row(
        "redis-kill-15s",
        "kill -9 of Redis, down for 12 to 15 s",
        REDELIVERED,
        kill_redis_for_long,
        in_tests=False,
    ),
    Row(
        "redis-kill-jobs-waiting",
        "kill -9 of Redis while jobs wait for InfluxDB (E2)",
        REDELIVERED,
        kill_redis_while_jobs_wait,
    ),
    Row("redis-hang", "SIGSTOP of Redis for 7 s", REDELIVERED, hang_redis, in_tests=False),
    Row(
        "redis-connections",
        "every connection to Redis killed, ten times",
        REDELIVERED,
        cut_redis_connections,
        in_tests=False,
    ),
    Row(
        "redis-torn-log",
        "a write to the append-only file is torn and Redis exits",
        REDELIVERED,
        tear_redis_log,
        in_tests=False,
    ),
    Row(
        "redis-disk-full",
        "Redis (everysec) cannot write its append-only file",
        REDELIVERED,
        fill_redis_disk,
        kind=LAZY_DISK,
        in_tests=False,
    ),
    Row(
        "redis-misconfigured",
        "Redis started without AOF, later with an eviction policy",
        REDELIVERED,
        misconfigure_redis,
    ),
    Row(
        "redis-full",
        "Redis near its memory limit while nothing drains",
        15,
        fill_redis,
        kind=LITTLE_MEMORY,
        rate=10,
    ),
    Row("redis-at-limit", "Redis at its memory limit with a backlog", 15, limit_redis),
    Row(
        "queue-bound",
        "as many jobs waiting as may, while nothing drains",
        15,
        fill_queue,
        kind=FEW_JOBS,
        rate=10,
    ),
    Row("influxdb-kill", "kill -9 of InfluxDB", 10, kill_influxdb),
    Row("influxdb-stop", "InfluxDB down until a backlog has grown", 10, stop_influxdb),
    Row(
        "influxdb-away-10min",
        "kill -9 of InfluxDB, down for ten minutes (only by name)",
        # 12,000 jobs of one submission each have to be written then.
        70,
        stop_influxdb_for_ten_minutes,
        rate=20,
        in_tests=False,
        only_by_name=True,
    ),
    Row("influxdb-hang", "SIGSTOP of InfluxDB for 7 s", 10, hang_influxdb, in_tests=False),
    Row("alert-kill", "kill -9 of the alert service, three times", 10, kill_alert_service),
    Row(
        "alert-down-30s",
        "the alert service stopped for 25 to 30 s",
        10,
        stop_alert_service_for_long,
        in_tests=False,
    ),
    Row("alert-hang", "SIGSTOP of the alert service", 10, hang_alert_service, in_tests=False),
    Row("reports-blocked", "a file in place of the report directory", 10, block_reports),
    Row("reports-full", "no room for reports", 10, fill_reports),
    Row("gateway-kill", "kill -9 of Envoy", 10, kill_gateway),
    Row("repeats", "one request_id five times at once", 5, repeat_at_once, rate=40),
    Row("one-moment", "a thousand submissions in one call", 5, submit_in_one_moment, rate=40),
    Row(
        "poison",
        "bytes in the queue that are no message",
        5,
        poison,
        dead_letters=1,
        clean=remove_dead_letters,
    ),
    Row(
        "deploy-skew",
        "messages for an actor that the workers get only later",
        5,
        deploy_out_of_order,
    ),
    Row(
        "rolling-restart",
        "SIGTERM and restart of each process under load",
        5,
        restart_everything,
        no_call_fails=True,
    ),
    Row(
        "rolling-restart-ten",
        "the same ten times over",
        5,
        lambda scene: restart_everything(scene, rounds=10),
        no_call_fails=True,
        in_tests=False,
    ),
    Row(
        "fetch-reply-lost",
        "the reply to a fetch is lost, by reset and in silence (E3d)",
        REDELIVERED,
        lose_fetch_reply,
        kind=ONE_OF_EACH,
    ),
    Row(
        "ack-reply-lost",
        "the reply to an acknowledgement is lost",
        REDELIVERED,
        lose_ack_reply,
        kind=ONE_OF_EACH,
        in_tests=False,
    ),
    Row(
        "commit-reply-lost",
        "the reply to a commit of ingest is lost",
        REDELIVERED,
        lose_commit_reply,
        kind=ONE_OF_EACH,
    ),
    Row(
        "worker-kill-before-ack",
        "kill -9 of a worker after InfluxDB's 204, before Redis knows",
        REDELIVERED,
        kill_worker_before_it_tells,
        kind=ONE_OF_EACH,
    ),
    Row(
        "ingest-kill-before-commit",
        "kill -9 of ingest between alert and commit",
        10,
        kill_ingest_before_commit,
        kind=ONE_OF_EACH,
        rate=20,
        in_tests=False,
    ),
    Row(
        "ingest-kill-after-commit",
        "kill -9 of ingest between commit and reply",
        10,
        kill_ingest_after_commit,
        kind=ONE_OF_EACH,
        rate=20,
        in_tests=False,
    ),
    Row(
        "callers-go-away",
        "callers hang up or have deadlines, 5 to 500 ms",
        5,
        go_away,
        kind=ONE_OF_EACH,
        rate=5,
        clean=no_half_state,
    ),
    Row(
        "influxdb-500-429",
        "InfluxDB answers 500, then 429",
        10,
        wrong_answers(500, 429),
        kind=ONE_OF_EACH,
    ),
    Row(
        "influxdb-401-404",
        "InfluxDB answers 401, then 404",
        10,
        wrong_answers(401, 404),
        kind=ONE_OF_EACH,
    ),
    Row(
        "replay",
        "one bad point of ten becomes a dead letter, and is replayed",
        5,
        replay_dead_letters,
        kind=ONE_OF_EACH,
        rate=0,
    ),
    Row(
        "influxdb-conflict",
        "InfluxDB refuses one of N for good: a type conflict",
        5,
        conflict_in_influxdb,
        kind=CONFLICT,
        rate=0,
        dead_letters=None,
        clean=only_conflicts_are_kept,
        spends_the_mesh=True,
    ),
    Row(
        "clock-step",
        "the clocks of ingest and workers set by an hour, forth and back",
        REDELIVERED,
        step_clocks,
        kind=CLOCKED,
    ),
)
