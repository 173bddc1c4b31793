"""A worker dies, stands still, or does not hear from Redis; or gets what is no message."""

from __future__ import annotations

import os
import signal
from typing import Any, cast

from job_store.keys import INTERACTIONS, ONLY, QUEUES
from sluice.job.v1.job_pb2 import JobRecord
from tests.faults.marks import ACK, FETCH, FINISH
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import HEARTBEAT_SECONDS, ONE_OF_EACH, REDELIVERED, Kind
from tests.kit.proxies import EMPTY_REPLY, Ending, Lost

ROWS: list[Row] = []

DEFAULT_HEARTBEAT_SECONDS = 8.0
DEFAULTS = Kind(
    "default heartbeat",
    {"worker_processes": 2},
    {"SLUICE_HEARTBEAT_SECONDS": str(DEFAULT_HEARTBEAT_SECONDS)},
)

_POISON_ID = "faults-poison"


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


ROWS.append(Row("worker-kill", "kill -9 of workers with jobs in hand", REDELIVERED, kill_worker))
ROWS.append(
    Row(
        "worker-kill-defaults",
        "the same with the default heartbeat of 8 s",
        DEFAULT_HEARTBEAT_SECONDS + 5,
        kill_worker,
        kind=DEFAULTS,
        in_tests=False,
    )
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


ROWS.append(
    Row(
        "worker-stop",
        "SIGSTOP of a worker past its heartbeat, then SIGCONT",
        5,
        stop_worker_past_its_heartbeat,
    )
)


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


ROWS.append(
    Row(
        "worker-kill-before-ack",
        "kill -9 of a worker after InfluxDB's 204, before Redis knows",
        REDELIVERED,
        kill_worker_before_it_tells,
        kind=ONE_OF_EACH,
    )
)


def lose_fetch_reply(scene: Scene) -> None:
    """Redis believes that the worker has the jobs; the worker has never seen them."""
    scene.lose_replies(*FETCH, spared=EMPTY_REPLY)


ROWS.append(
    Row(
        "fetch-reply-lost",
        "the reply to a fetch is lost, by reset and in silence",
        REDELIVERED,
        lose_fetch_reply,
        kind=ONE_OF_EACH,
    )
)


def lose_ack_reply(scene: Scene) -> None:
    scene.lose_replies(*ACK)


ROWS.append(
    Row(
        "ack-reply-lost",
        "the reply to an acknowledgement is lost",
        REDELIVERED,
        lose_ack_reply,
        kind=ONE_OF_EACH,
        in_tests=False,
    )
)


def poison(scene: Scene) -> None:
    """Bytes that are no message lie in the queue."""
    message = b"\xff\xfe\x00" + scene.canary.encode() + b"\x80"
    _enqueue(scene, message)
    scene.lift()
    scene.until(lambda: scene.dead_letters() == 1, "the poison was not set aside")


def remove_dead_letters(scene: Scene, _verdict: dict[str, Any]) -> None:
    for queue in QUEUES:
        scene.redis.delete(ONLY.dead(queue), ONLY.dead_messages(queue))
    scene.redis.delete(ONLY.causes)


ROWS.append(
    Row(
        "poison",
        "bytes in the queue that are no message",
        5,
        poison,
        dead_letters=1,
        clean=remove_dead_letters,
    )
)


def _record(scene: Scene, job: bytes) -> JobRecord:
    found = cast(bytes | None, scene.redis.hget(*ONLY.record(job.decode())))
    return JobRecord.FromString(found or b"")


def _enqueue(scene: Scene, message: bytes) -> None:
    with scene.redis.pipeline(transaction=True) as transaction:
        transaction.hset(ONLY.messages(INTERACTIONS), _POISON_ID, cast(str, message))
        transaction.rpush(ONLY.waiting(INTERACTIONS), _POISON_ID)
        transaction.execute()
