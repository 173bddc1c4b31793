"""What a mesh under fire has kept: rows, alerts, reports and logs."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.local.mesh import LocalMesh
from tests.kit import influxdb
from tests.kit.waiting import ConditionTimeout, eventually


class Kept:
    """Reads what one mesh has kept."""

    def __init__(self, mesh: LocalMesh) -> None:
        self._mesh = mesh
        self._read: dict[Path, int] = {}
        """How much of each log has been looked at."""

    def rows(self, since: int, count: int, seconds: float) -> list[dict[str, Any]]:
        """Return all rows from a time on (nanoseconds) as soon as there are so many, or whatever
        there is when they do not come.

        InfluxDB shows the fields of a point one after the other while it takes it: a row is there
        when it has the id by which its caller knows it.
        """
        rows: list[dict[str, Any]] = []

        def are_all_there() -> bool:
            nonlocal rows
            statement = f"SELECT * FROM interactions WHERE time >= {since}"
            rows = influxdb.query(self._mesh.influx_url, self._mesh.influx_headers(), statement)
            return len(rows) >= count and all(
                row.get("task_id") and (row["verdict"] == "accepted" or row.get("alert_id"))
                for row in rows
            )

        with suppress(ConditionTimeout):
            eventually(are_all_there, seconds, ignoring=())
        return rows

    def alert(self, alert_id: str) -> str:
        """Return what is told about an alert, as it is told. Raises OSError when there is none."""
        path = urllib.parse.quote(alert_id, safe="")
        with urllib.request.urlopen(
            f"http://{self._mesh.gateway}/alerts/{path}", timeout=10
        ) as answer:
            return str(answer.read().decode())

    def listed(self, alert_ids: Collection[str]) -> str:
        """Return these alerts as they are listed, of the newest ones."""
        url = f"http://{self._mesh.gateway}/alerts?page_size=50"
        with urllib.request.urlopen(url, timeout=10) as answer:
            alerts = json.load(answer).get("alerts", [])
        return json.dumps(
            [alert for alert in alerts if alert["alert_id"] in alert_ids], ensure_ascii=False
        )

    def report_size(self, name: str) -> int:
        """Return the size of a report in bytes."""
        return (self._mesh.settings.reports_dir / name).stat().st_size

    def new_logs(self) -> Iterable[bytes]:
        """Yield what was logged since the last look."""
        for path in sorted(self._mesh.supervisor.logs.iterdir()):
            with path.open("rb") as log:
                log.seek(self._read.get(path, 0))
                yield log.read()
                self._read[path] = log.tell()
