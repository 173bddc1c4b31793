"""There is no room in Redis, or as many jobs wait as may."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from typing import cast

from job_store.keys import ALERTS, INTERACTIONS, ONLY
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import Kind
from tests.kit.threads import at_once

ROWS: list[Row] = []

LITTLE_MEMORY = Kind("little memory", {"redis_memory": "6mb"})
FEW_JOBS = Kind("few jobs", environment={"SLUICE_MAX_QUEUED_JOBS": "50"})


def fill_redis(scene: Scene) -> None:
    """Submit while nothing drains, until there is no room: 429 comes before Redis refuses."""
    _submit_until_refused(scene, "all work and no play " * 1000)
    errors = scene.redis.info("errorstats")
    scene.expect("errorstat_OOM" not in errors, "Redis ran out of memory")
    scene.supervisor.start_program("influxdb")
    scene.lift()


ROWS.append(
    Row(
        "redis-full",
        "Redis near its memory limit while nothing drains",
        15,
        fill_redis,
        kind=LITTLE_MEMORY,
        rate=10,
    )
)


def limit_redis(scene: Scene) -> None:
    """Take Redis to its memory limit with jobs in it: nothing more goes in, and all comes out."""
    scene.supervisor.stop_program("influxdb")
    scene.until(lambda: scene.redis.hlen(ONLY.messages(INTERACTIONS)) >= 20, "no backlog grew")
    (limit,) = scene.redis.config_get("maxmemory").values()
    scene.redis.config_set("maxmemory", 1)
    try:
        caller = scene.caller()
        scene.until(lambda: caller.submit(caller.body()).status == 429, "submissions are taken")
        caller.close()
        scene.supervisor.start_program("influxdb")
        scene.until(
            lambda: not scene.redis.exists(ONLY.messages(INTERACTIONS)), "the workers are stuck"
        )
    finally:
        scene.redis.config_set("maxmemory", str(limit))
    scene.lift()


ROWS.append(Row("redis-at-limit", "Redis at its memory limit with a backlog", 15, limit_redis))


def fill_queue(scene: Scene) -> None:
    """Submit while nothing drains, until as many jobs wait as may."""
    _submit_until_refused(scene, "")
    scene.supervisor.start_program("influxdb")
    scene.lift()


ROWS.append(
    Row(
        "queue-bound",
        "as many jobs waiting as may, while nothing drains",
        15,
        fill_queue,
        kind=FEW_JOBS,
        rate=10,
    )
)


def fill_redis_with_alerts(scene: Scene) -> None:
    """Large refusals pile up while the alert service is away, until Redis is at its limit."""
    scene.supervisor.stop_program("alert_service")
    statuses: Counter[int] = Counter()
    callers = [scene.caller() for _ in range(4)]

    def refuse(number: int) -> None:
        turned_away = 0
        for _ in range(400):
            body = callers[number].body(refused=True)
            body["data"]["filler"] = "all work and no play " * 1000
            status = callers[number].submit(body).status
            statuses[status] += 1
            turned_away += status in (429, 503)
            if turned_away >= 25:
                return

    at_once(len(callers), refuse)
    for caller in callers:
        caller.close()
    scene.expect(set(statuses) <= {400, 429, 503}, f"callers got {sorted(statuses)}")
    scene.expect(statuses[429] + statuses[503] >= 25, "nobody was turned away")
    # Whatever kept it from that, now Redis is at its limit.
    limit = cast(str, scene.redis.config_get("maxmemory")["maxmemory"])
    scene.redis.config_set("maxmemory", int(scene.redis.info("memory")["used_memory"] * 0.95))
    try:
        scene.supervisor.start_program("alert_service")
        scene.lift()
        scene.until(
            lambda: not scene.redis.exists(ONLY.messages(ALERTS)), "the alerts do not drain", 30
        )
    finally:
        scene.redis.config_set("maxmemory", limit)


ROWS.append(
    Row(
        "redis-full-of-alerts",
        "Redis at its limit by queued alerts, then the alert service is back",
        30,
        fill_redis_with_alerts,
        kind=LITTLE_MEMORY,
        rate=10,
    )
)


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
