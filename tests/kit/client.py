"""The mesh as its users see it: REST, InfluxDB, report files, logs."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.mesh import LocalMesh
from deploy.local.supervision import Supervisor
from tests.kit import influxdb, logs
from tests.kit.waiting import eventually

JSON = {"Content-Type": "application/json"}
FINAL = {"TASK_STATE_SUCCEEDED", "TASK_STATE_FAILED"}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def detail(self, kind: str) -> Any:
        """Return the error detail of a type such as ErrorInfo."""
        (found,) = [each for each in self.json["details"] if each["@type"].endswith(f".{kind}")]
        return found


class Client:
    """Talks to one mesh and looks at what it left behind."""

    def __init__(self, mesh: LocalMesh, database: Supervisor | None = None) -> None:
        self.mesh = mesh
        self.database = database or mesh.supervisor
        """Whoever supervises InfluxDB."""

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        address: str | None = None,
    ) -> Answer:
        """Make one HTTP request, to the gateway unless another address is named."""
        connection = http.client.HTTPConnection(address or self.mesh.gateway, timeout=15)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        return self.call("POST", path, json.dumps(body).encode(), JSON, **options)

    def submit(self, data: Any, **fields: str) -> Answer:
        return self.post("/submit", {"data": data, **fields})

    def task(self, task_id: str) -> Any:
        """Return where a task stands, None when the answer is to ask again."""
        answer = self.get(f"/status/{task_id}")
        if answer.status == 503:
            return None
        assert answer.status == 200, answer.body
        return answer.json

    def finished(self, task_id: str, seconds: float = 20.0) -> Any:
        """Return the task once its state is final."""

        def look() -> Any:
            task = self.task(task_id)
            return task if task and task["state"] in FINAL else None

        # The gateway itself has to answer all the while.
        return eventually(look, seconds, ignoring=())

    def rows(self, where: str) -> list[dict[str, Any]]:
        """Return the recorded interactions that fit an InfluxQL condition."""
        statement = f"SELECT * FROM interactions WHERE {where}"
        return influxdb.query(self.mesh.influx_url, self.mesh.influx_headers(), statement)

    def reports(self) -> dict[str, Path]:
        """Return the report files by the id of their alert."""
        folder = self.mesh.settings.reports_dir
        return {
            json.loads(path.read_text())["alert"]["alert_id"]: path
            for path in folder.rglob("alert_*.txt")
        }

    def refused_at_edge(self) -> int:
        """Return how many refusals of the gateway are counted in the newest alerts."""
        alerts = self.get("/alerts?event_type=INVALID_INPUT&page_size=500").json["alerts"]
        return sum(alert["count"] for alert in alerts if alert["report"].startswith("edge/"))

    def await_reports(self, count: int) -> None:
        """Wait until there are so many report files: late ones would disturb the next test."""
        folder = self.mesh.settings.reports_dir
        eventually(lambda: len(list(folder.rglob("alert_*.txt"))) >= count, 60)

    def log_lines(self, program: str, event: str) -> list[dict[str, Any]]:
        """Return a program's log lines about one event."""
        return logs.log_lines(self.mesh.supervisor.logs / f"{program}.log", event)


def marker() -> str:
    """Return a text that occurs nowhere else and that no detector takes for anything."""
    return "canary " + " ".join(uuid.uuid4().hex[i : i + 4] for i in range(0, 12, 4))
