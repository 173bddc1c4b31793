"""Runs the four scenes of the README on the running mesh and prints the results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from deploy.local.mesh import LocalMesh, MeshError

Seen = TypeVar("Seen")

SCENE_SECONDS = 20.0


def demo(mesh: LocalMesh) -> None:
    """Run and print all scenes. Raises MeshError when one does not end as it should."""
    if not mesh.supervisor.running():
        sys.exit("Sluice is not up: make up")

    print("1. Submit\n")
    code, receipt = _post(mesh, {"data": "hello from make demo", "source": "demo"})
    _show(f"POST /submit -> {code}", receipt)
    _require(code == 200, "the submission was not accepted")
    task = _wait_for(lambda: _finished(mesh, receipt["task_id"]), "the task was not written")
    _show(f"GET /status/{receipt['task_id']}", task)

    print("\n2. The log in InfluxDB\n")
    query = "SELECT * FROM interactions ORDER BY time DESC LIMIT 5"
    database = mesh.influx_environment()["SLUICE_INFLUX_BUCKET"].partition("/")[0]
    print(f"$ influx -database {database} -execute '{query}'")
    rows = _influx(mesh, database, query)
    print(rows)
    _require(receipt["task_id"] in rows, "the interaction is not in InfluxDB")

    print("\n3. Personal data is stopped\n")
    before = set(_reports(mesh))
    code, refusal = _post(mesh, {"data": "my ssn is 123-45-6789", "source": "demo"})
    _show(f"POST /submit -> {code}", refusal)
    _require(code == 400, "personal data was not refused")
    report = _wait_for(lambda: next(iter(set(_reports(mesh)) - before), None), "no report came")
    print(f"\n{report}\n{report.read_text()}")

    print("\n4. A flood of ten\n")
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: _post(mesh, {"data": f"flood {n}"}), range(10)))
    accepted = sum(code == 200 for code, _ in answers)
    _require(accepted == 10, f"{accepted} of 10 were accepted")
    tasks = {answer["task_id"] for _, answer in answers}
    _wait_for(lambda: _received(mesh, tasks) == 10 or None, "the worker did not receive all ten")
    print(f"accepted: {accepted}   `received` lines in the worker's log: {_received(mesh, tasks)}")
    print("\nAll four scenes went as they should.")


def _post(mesh: LocalMesh, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://{mesh.gateway}/submit",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def _finished(mesh: LocalMesh, task_id: str) -> Any:
    with urllib.request.urlopen(f"http://{mesh.gateway}/status/{task_id}", timeout=10) as answer:
        task = json.load(answer)
    return task if task["state"] == "TASK_STATE_SUCCEEDED" else None


def _influx(mesh: LocalMesh, database: str, query: str) -> str:
    command = [str(mesh.settings.state / "bin" / "influx")]
    command += ["-database", database, "-precision", "rfc3339", "-execute", query]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout or done.stderr


def _reports(mesh: LocalMesh) -> list[Path]:
    return list(mesh.settings.reports_dir.glob("alert_*.txt"))


def _received(mesh: LocalMesh, tasks: set[str]) -> int:
    """Return how many `received` lines of the workers name one of the tasks."""
    lines = [
        json.loads(line)
        for path in mesh.supervisor.logs.glob("worker*.log")
        for line in path.read_text().splitlines()
        if '"received"' in line
    ]
    return sum(line.get("task_id") in tasks for line in lines)


def _show(title: str, value: Any) -> None:
    print(f"{title}\n{json.dumps(value, indent=2)}")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise MeshError(f"This scene failed: {otherwise}. See `make status` and `make logs`.")


def _wait_for(look: Callable[[], Seen | None], otherwise: str) -> Seen:
    deadline = time.monotonic() + SCENE_SECONDS
    while (seen := look()) is None:
        _require(time.monotonic() < deadline, otherwise)
        time.sleep(0.05)
    return seen
