"""InfluxDB dies, hangs, gives wrong answers, or refuses points for good."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any

from bench.usage import usage_of
from job_store.dead_letters import DeadLetters
from tests.faults import history
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import ONE_OF_EACH, Kind

ROWS: list[Row] = []

CONFLICT = Kind("conflict")


def kill_influxdb(scene: Scene) -> None:
    scene.lift()
    scene.kill("influxdb")


ROWS.append(Row("influxdb-kill", "kill -9 of InfluxDB", 10, kill_influxdb))


def stop_influxdb(scene: Scene) -> None:
    scene.supervisor.stop_program("influxdb")
    scene.until(lambda: len(scene.open_jobs()) >= 20, "nothing was accepted any more")
    scene.supervisor.start_program("influxdb")
    scene.lift()


ROWS.append(Row("influxdb-stop", "InfluxDB down until a backlog has grown", 10, stop_influxdb))


def stop_influxdb_for_ten_minutes(scene: Scene) -> None:
    """The backlog lies in Redis: the workers hold what they have in hand and no more."""
    before = _resident_bytes(scene)
    scene.kill_and_hold("influxdb")
    time.sleep(600)
    grown = _resident_bytes(scene) - before
    scene.supervisor.start_program("influxdb")
    scene.lift()
    scene.expect(grown < 64 * 2**20, f"the workers have grown by {grown >> 20} MiB")


ROWS.append(
    Row(
        "influxdb-away-10min",
        "kill -9 of InfluxDB, down for ten minutes (only by name)",
        # 12,000 jobs of one submission each have to be written then.
        70,
        stop_influxdb_for_ten_minutes,
        rate=20,
        in_tests=False,
        only_by_name=True,
    )
)


def hang_influxdb(scene: Scene) -> None:
    with scene.frozen("influxdb"):
        # Longer than the worker waits for an answer.
        time.sleep(7)
    scene.lift()


ROWS.append(Row("influxdb-hang", "SIGSTOP of InfluxDB for 7 s", 10, hang_influxdb, in_tests=False))


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


ROWS.append(
    Row(
        "influxdb-500-429",
        "InfluxDB answers 500, then 429",
        10,
        wrong_answers(500, 429),
        kind=ONE_OF_EACH,
    )
)
ROWS.append(
    Row(
        "influxdb-401-404",
        "InfluxDB answers 401, then 404",
        10,
        wrong_answers(401, 404),
        kind=ONE_OF_EACH,
    )
)


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
    # Nothing recovers by itself here, but what has no source flows on.
    scene.lift()


def only_conflicts_are_kept(scene: Scene, verdict: dict[str, Any]) -> None:
    """N - 1 rows: of all that was promised, what has a source is in dead letters, no more."""
    told = history.read(scene.path)
    bad = {key for key, each in told.submissions.items() if each.has_source and each.is_promised}
    kept = set(verdict["kept"])
    scene.expect(kept == bad, f"{len(kept)} are kept for replay where {len(bad)} belong")


ROWS.append(
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
    )
)


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


ROWS.append(
    Row(
        "replay",
        "one bad point of ten becomes a dead letter, and is replayed",
        5,
        replay_dead_letters,
        kind=ONE_OF_EACH,
        rate=0,
    )
)


def _resident_bytes(scene: Scene) -> int:
    workers = {name: scene.supervisor.pid(name) for name in scene.stage.workers}
    return usage_of(workers).resident_bytes["worker"]
