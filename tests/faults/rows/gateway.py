"""The gateway dies, and what it refuses itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable
from typing import Any

from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.kit.client import JSON
from tests.kit.threads import at_once

ROWS: list[Row] = []

NOISE_CALLS = 10_000
NOISE_CALLERS = 8

MOST_NOISE_REPORTS = 50
"""Reports that noise of one client may leave in a minute or two."""


def kill_gateway(scene: Scene) -> None:
    scene.lift()
    scene.kill("api_gateway")


ROWS.append(Row("gateway-kill", "kill -9 of Envoy", 10, kill_gateway))


def refuse_at_the_edge(scene: Scene) -> None:
    """The alert service is away, and the gateway dies as soon as it has answered."""
    before = {row["task_id"] for row in _unkeyed_rows(scene)}
    large = b'{"data":"' + b"x" * 1_200_000 + b'"}'
    refusals = [
        ("/submit", b'{"data":', JSON, 400),
        ("/submit", b"[1]", JSON, 400),
        ("/submit", b'{"data":1,"source":{"a":1}}', JSON, 400),
        ("/submit?colour=red", b'{"data":1}', JSON, 400),
        ("/submit", large, JSON, 413),
        ("/submit", b'{"data":1}', {"Content-Type": "text/plain"}, 415),
    ]
    scene.supervisor.stop_program("alert_service")
    told = 0
    scene.random.shuffle(refusals)
    for path, body, headers, status in refusals:
        answer = scene.until(lambda: _status(scene, path, body, headers), "the gateway is away")  # noqa: B023
        scene.kill("api_gateway")
        scene.expect(answer == status, f"{path} was answered with {answer}, not {status}")
        told += answer == status
    scene.supervisor.start_program("alert_service")
    scene.lift()

    def on_record() -> list[dict[str, Any]]:
        rows = [row for row in _unkeyed_rows(scene) if row["task_id"] not in before]
        return rows if len(rows) >= told else []

    rows = scene.until(on_record, "what the gateway refused is not on record", 15)
    ids = {str(row["alert_id"]) for row in rows}

    def counted() -> bool:
        return _counted(scene, ids) >= told

    scene.until(counted, "alerts do not count what the gateway refused", 15)
    for alert_id in ids:
        scene.expect_report(alert_id)


ROWS.append(
    Row(
        "edge-refusals",
        "refusals of the gateway itself: no alert service, and Envoy killed after each answer",
        15,
        refuse_at_the_edge,
    )
)


def drown_alarms(scene: Scene) -> None:
    """Ten thousand calls to nowhere, while callers are refused for what they send."""
    folder = scene.mesh.settings.reports_dir

    def counts() -> dict[str, int]:
        """Return how many refusals each report stands for that is not about personal data."""
        alerts = [json.loads(path.read_text())["alert"] for path in folder.rglob("alert_*.txt")]
        return {
            str(alert["alert_id"]): int(alert.get("count", 1))
            for alert in alerts
            if alert.get("event_type") != "PII"
        }

    before = counts()

    def noise(caller: int) -> int:
        connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=15)
        told = 0
        for call in range(NOISE_CALLS // NOISE_CALLERS):
            connection.request("GET", f"/nope/{caller}/{call}")
            answer = connection.getresponse()
            answer.read()
            told += answer.status == 404
        connection.close()
        return told

    told = sum(at_once(NOISE_CALLERS, noise))
    scene.expect(told == NOISE_CALLS, f"{NOISE_CALLS - told} calls to nowhere were not answered")
    scene.lift()

    def counted() -> bool:
        return sum(counts().values()) - sum(before.values()) >= told

    scene.until(counted, "the noise is not counted", 20)
    reports = counts().keys() - before.keys()
    scene.expect(len(reports) <= MOST_NOISE_REPORTS, f"noise left {len(reports)} reports")


ROWS.append(
    Row(
        "edge-noise",
        "10,000 calls to unknown paths beside refusals of personal data",
        10,
        drown_alarms,
    )
)


def _status(scene: Scene, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Make a call and return the status of its answer, 0 for none."""
    host, port = scene.mesh.gateway.split(":")
    fields = {"Host": scene.mesh.gateway, "Content-Length": len(body), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 15) as caller:
        # A body that is too large is answered before its end.
        with contextlib.suppress(ConnectionError):
            caller.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = caller.recv(65536).split()
        return int(answer[1]) if answer else 0
    return 0


def _counted(scene: Scene, alert_ids: Iterable[str]) -> int:
    """Return how many refusals these alerts stand for."""
    return sum(int(scene.alert(alert_id).get("count", 0)) for alert_id in alert_ids)


def _unkeyed_rows(scene: Scene) -> list[dict[str, Any]]:
    """Return the refusals on record that no caller of the load made."""
    rows = []
    for row in scene.rows():
        data = json.loads(row["payload"])
        if row["verdict"] == "rejected" and not (isinstance(data, dict) and "key" in data):
            rows.append(row)
    return rows
