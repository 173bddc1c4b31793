"""The checker sees red: each promise is broken for real, and it has to notice."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq.common import dq_name
from google.protobuf.struct_pb2 import Value

from deploy.local.credentials import Role
from ingest_service.recorder import interaction
from job_store.admission import Admission
from job_store.keys import ALERTS, INTERACTIONS, ONLY
from job_store.partitions import Partition
from job_store.redis_client import connect
from job_store.scripts import FOLDER
from job_store.store import Entry, JobStore
from tests.faults.checker import recorded
from tests.faults.runner import judge
from tests.faults.scene import Scene
from tests.faults.stage import Kind, Stage
from tests.kit.processes import OUR_CODE, Process
from tests.kit.proxies import InfluxProxy
from tests.kit.waiting import ConditionTimeout


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("checker"), Kind("checker"))
    stage.start()
    yield stage
    stage.stop()


@pytest.fixture
def scene(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(stage, request.node.name.partition("[")[0], seed=1)
    yield scene
    scene.end()


@pytest.fixture
def loaded(scene: Scene) -> Scene:
    """A scene whose load has come and gone, and all is well."""
    scene.start_load(80.0)
    scene.stop_load()
    scene.until(scene.is_drained, "the queues did not drain")
    verdict = verdict_on(scene)
    assert verdict["green"], verdict
    assert verdict["accepted"] > 20
    assert verdict["refused"] > 0
    return scene


def verdict_on(scene: Scene) -> dict[str, Any]:
    return judge(scene.stage.state, scene.path, 0)


def one_row(scene: Scene) -> dict[str, Any]:
    return next(
        row
        for row in recorded(scene.mesh.influx_url, scene.mesh.influx_headers())
        if row["verdict"] == "accepted" and scene.prefix in row["payload"]
    )


def write(scene: Scene, row: dict[str, Any]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    line = (
        f"interactions,verdict={row['verdict']} payload={quoted(row['payload'])},"
        f"task_id={quoted(row['task_id'])} {row['time']}"
    )
    ask_influxdb(scene, "/write?db=logs", line, "writer")


def delete(scene: Scene, time_unix_nano: int) -> None:
    query = urllib.parse.urlencode(
        {"db": "logs", "q": f"DELETE FROM interactions WHERE time = {time_unix_nano}"}
    )
    ask_influxdb(scene, "/query", query, "admin")


def ask_influxdb(scene: Scene, path: str, body: str, role: Role) -> None:
    url, headers = f"{scene.mesh.influx_url}{path}", scene.mesh.influx_headers(role)
    request = urllib.request.Request(url, body.encode(), headers)
    with urllib.request.urlopen(request, timeout=10):
        pass


def test_a_row_that_is_there_twice(loaded: Scene) -> None:
    row = one_row(loaded)
    write(loaded, row | {"time": row["time"] + 1})
    verdict = verdict_on(loaded)
    delete(loaded, row["time"] + 1)
    assert len(verdict["doubled"]) == 1
    assert verdict["books"]
    assert not verdict["green"]
    assert verdict_on(loaded)["green"]


def test_two_rows_of_one_time(loaded: Scene) -> None:
    row = one_row(loaded)
    write(loaded, row | {"verdict": "rejected", "payload": '"stranger"'})
    verdict = verdict_on(loaded)
    delete(loaded, row["time"])
    write(loaded, row)
    assert "1 rows share the time of another" in verdict["books"]
    assert not verdict["green"]


def test_a_row_that_is_gone(loaded: Scene) -> None:
    row = one_row(loaded)
    delete(loaded, row["time"])
    verdict = verdict_on(loaded)
    write(loaded, row)
    assert verdict["lost"] == [json.loads(row["payload"])["key"]]
    assert verdict["books"]
    assert not verdict["green"]


def test_a_row_with_another_value(loaded: Scene) -> None:
    row = one_row(loaded)
    payload = json.loads(row["payload"]) | {"amount": -1}
    write(loaded, row | {"payload": json.dumps(payload)})
    verdict = verdict_on(loaded)
    write(loaded, row)
    assert len(verdict["strange"]) == 1
    assert not verdict["green"]


def test_a_row_and_a_report_that_nobody_promised(loaded: Scene) -> None:
    key = f"{loaded.prefix}stranger"
    row = one_row(loaded)
    write(loaded, row | {"payload": json.dumps({"key": key}), "time": row["time"] + 1})
    report = loaded.mesh.settings.reports_dir / "alert_stranger.txt"
    report.write_text(json.dumps({"alert": {"alert_id": "x"}, "payload": {"key": key}}))
    verdict = verdict_on(loaded)
    report.unlink()
    delete(loaded, row["time"] + 1)
    assert len(verdict["strange"]) == 2
    assert not verdict["green"]


def test_a_report_that_is_gone(loaded: Scene) -> None:
    report = next(
        path
        for path in loaded.mesh.settings.reports_dir.glob("alert_*.txt")
        if loaded.prefix in path.read_text()
    )
    report.rename(aside := report.with_name("aside"))
    verdict = verdict_on(loaded)
    aside.rename(report)
    assert len(verdict["unreported"]) == 1
    assert not verdict["green"]


def test_what_is_left_in_redis(loaded: Scene) -> None:
    client = loaded.redis
    messages = ONLY.messages(INTERACTIONS)
    delayed = ONLY.messages(dq_name(ALERTS))
    fetched = ONLY.fetched(INTERACTIONS, "worker")
    dead = ONLY.dead(ALERTS)
    client.hset(messages, "stranded", "message")
    client.hset(delayed, "delayed", "message")
    client.sadd(fetched, "unacknowledged")
    client.zadd(dead, {"dead": time.time() * 1000})
    client.hset(ONLY.open_jobs, "job", 3)
    verdict = verdict_on(loaded)
    client.delete(messages, delayed, fetched, dead)
    client.hdel(ONLY.open_jobs, "job")
    assert len(verdict["undrained"]) == 5
    assert len(verdict["books"]) == 1
    assert not verdict["green"]
    assert verdict_on(loaded)["green"]


@pytest.mark.parametrize("filtered", [True, False])
def test_a_library_that_prints_what_it_was_given(loaded: Scene, filtered: bool) -> None:
    program = (
        "import logging, sys\n"
        "from mesh import logs\n"
        "logs.configure('leaky', 'info') if sys.argv[1] == 'True' else logging.basicConfig()\n"
        "logging.getLogger('dramatiq.worker').warning('Failed to process %s', sys.argv[2])\n"
    )
    path = loaded.supervisor.logs / "leaky.log"
    with path.open("wb") as log:
        subprocess.run(
            [sys.executable, "-c", program, str(filtered), loaded.canary],
            env=os.environ | OUR_CODE,
            stdout=log,
            stderr=log,
            check=True,
            timeout=30,
        )
    assert path.stat().st_size > 0
    verdict = verdict_on(loaded)
    path.unlink()
    assert verdict["leaked"] == ([] if filtered else ["leaky.log"])
    assert verdict["green"] is filtered


def test_times_that_are_not_unique(scene: Scene) -> None:
    """Two interactions of one time become one point, and InfluxDB says nothing.

    From here on the books of this mesh do not balance.
    """
    caller = scene.caller()
    bodies = [caller.body() for _ in range(50)]
    client = connect(scene.mesh.redis_url)
    jobs = JobStore(
        Partition(client), Admission(Partition(client)), record_seconds=1000, request_seconds=1000
    )
    whole = (FOLDER / "commit.lua").read_text()
    broken = whole.replace("'<I8', first)", "'<I8', first - first % 60000000)")
    assert broken != whole
    jobs._commit = client.register_script(broken)
    task_ids = []
    for body in bodies:
        caller.invoke(body)
        data = Value()
        data.struct_value.update(body["data"])
        (receipt,) = jobs.commit([Entry(interaction(data.SerializeToString()))])
        task_ids.append(f"{receipt.job_id}-{receipt.first}")
    for body, task_id in zip(bodies, task_ids, strict=True):
        caller.note(body, 200, {"task_id": task_id})
    client.close()
    scene.until(scene.is_drained, "the queues did not drain")
    verdict = verdict_on(scene)
    assert verdict["lost"]
    assert verdict["books"]
    assert not verdict["green"]


def test_stock_retries_while_redis_is_away(scene: Scene) -> None:
    """Last: it stops the mesh's own worker."""
    scene.supervisor.stop_program("worker")
    influxdb = InfluxProxy(scene.mesh.settings.influx_port)
    command = [sys.executable, "-m", "tests.faults.stock_worker"]
    stock = Process(
        [*command, scene.mesh.redis_url, influxdb.url],
        scene.stage.state / "stock.log",
        scene.mesh.influx_environment("writer"),
    )
    stock.start()
    try:
        scene.start_load(40.0)
        influxdb.wrong_status, influxdb.wrong_after = 503, 1.5
        scene.until(lambda: sum(scene.in_hand().values()) >= 4, "no job was fetched")
        scene.kill_and_hold("redis")
        # Both running jobs fail for InfluxDB, and find no Redis to be put back into.
        scene.a_moment(3.0, 3.5)
        scene.supervisor.start_program("redis")
        influxdb.forgive()
        scene.stop_load()
        left = (ONLY.messages(INTERACTIONS), ONLY.messages(dq_name(INTERACTIONS)))
        # It may also have forgotten jobs that it still holds; 15 s are many times what any retry
        # waits, so those are lost as well.
        with contextlib.suppress(ConditionTimeout):
            scene.until(lambda: not scene.redis.exists(*left), "the stock worker is stuck", 15)
    finally:
        stock.stop()
        influxdb.close()
    verdict = verdict_on(scene)
    assert verdict["lost"]
    assert not verdict["green"]
