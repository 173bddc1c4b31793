"""Redis is as it was earlier, or empty."""

from __future__ import annotations

import http.client
import json
import shutil
import time
import urllib.parse
import urllib.request

from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import Kind
from tests.kit.client import JSON
from tests.kit.threads import at_once

ROWS: list[Row] = []

RESTORED = Kind("Redis restored", {"ingest_processes": 2, "worker_processes": 2})


def restore_redis(scene: Scene) -> None:
    """Redis comes back as an older copy of itself, and with it what it has handed out."""
    folder = scene.stage.state / "redis"
    copy = scene.stage.state / f"redis-{time.monotonic_ns()}"
    scene.until(scene.is_drained, "the queues did not drain")
    shutil.copytree(folder, copy)
    since = _newest_time(scene)
    _kill_and_await(scene, scene.stage.ingest[1])
    _submit_in_pieces(scene)
    scene.kill_and_hold("redis")
    shutil.rmtree(folder)
    shutil.move(copy, folder)
    scene.supervisor.start_program("redis")
    _go_on_from_there(scene, scene.stage.ingest[0], since, rounds=1)


ROWS.append(
    Row(
        "redis-restored",
        "Redis restored from an older copy while ingest lives",
        20,
        restore_redis,
        kind=RESTORED,
        rate=0,
        spends_the_mesh=True,
    )
)


def empty_redis(scene: Scene) -> None:
    """Somebody empties Redis."""
    _submit_in_pieces(scene)
    scene.redis.flushall()
    # What Redis numbers begins anew: one of two newcomers gets what the other process has.
    _go_on_from_there(scene, scene.stage.ingest[1], 0, rounds=2)


ROWS.append(
    Row(
        "redis-emptied",
        "FLUSHALL while ingest lives",
        20,
        empty_redis,
        kind=RESTORED,
        rate=0,
        spends_the_mesh=True,
        in_tests=False,
    )
)


def _submit_in_pieces(scene: Scene) -> None:
    """Have many times handed out, and written: two processes, each in long runs."""

    def submit(_number: int) -> None:
        connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=30)
        for _ in range(5):
            submissions = [{"data": {"before": number}} for number in range(500)]
            body = json.dumps({"submissions": submissions})
            connection.request("POST", "/submit:batch", body, JSON)
            answer = connection.getresponse()
            answer.read()
            scene.expect(answer.status == 200, f"a batch got {answer.status}")
        connection.close()

    at_once(4, submit)
    scene.until(scene.is_drained, "the queues did not drain")


def _go_on_from_there(scene: Scene, newcomer: str, since: int, rounds: int) -> None:
    """Submit as before, beside a process that is new, and see that no point takes another's place.

    What Redis does not know of any more is then removed, so that its books can be compared.
    """
    earlier = {row["time"]: row["task_id"] for row in scene.rows() if row["time"] > since}
    callers = [scene.caller() for _ in range(4)]

    def submit(number: int) -> None:
        for _ in range(10):
            callers[number].submit_batch([callers[number].body() for _ in range(500)])

    for _ in range(rounds):
        _kill_and_await(scene, newcomer)
        answer = callers[0].insist(callers[0].body(repeatable=True), 15)
        scene.expect(bool(answer.receipt), "nothing was accepted within 15 s")
        at_once(len(callers), submit)
    for caller in callers:
        caller.close()
    scene.until(scene.is_drained, "the queues did not drain")
    rows = scene.rows()
    now = {row["time"]: row["task_id"] for row in rows}
    replaced = [moment for moment, task_id in earlier.items() if now.get(moment) != task_id]
    scene.expect(not replaced, f"{len(replaced)} rows of before were replaced")
    scene.expect(len(now) == len(rows), f"{len(rows) - len(now)} rows share their time")
    _delete_rows(scene, min(earlier), max(earlier))
    scene.lift()


def _newest_time(scene: Scene) -> int:
    return max((int(row["time"]) for row in scene.rows()), default=0)


def _delete_rows(scene: Scene, first: int, last: int) -> None:
    query = f"DELETE FROM interactions WHERE time >= {first} AND time <= {last}"
    body = urllib.parse.urlencode({"db": "logs", "q": query}).encode()
    url, headers = f"{scene.mesh.influx_url}/query", scene.mesh.influx_headers("admin")
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        scene.expect("error" not in answer.read().decode(), "rows could not be deleted")


def _kill_and_await(scene: Scene, name: str) -> None:
    pid = scene.kill(name)
    scene.until(lambda: scene.supervisor.pid(name) not in (0, pid), f"{name} did not come back")
    scene.mesh.wait_healthy()
