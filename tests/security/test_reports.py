"""Ids of alerts and links in the report directory lead nowhere but to reports."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest

from tests.e2e.client import Client
from tests.security import wire
from tests.security.calls import call

GET = "/sluice.alert.v1.AlertService/GetAlert"
RAISE = "/sluice.alert.v1.AlertService/RaiseAlert"
EVENT = wire.field(2, b"DRILL")

IDS = ["../../etc/x", "..", ".", ".ids", "/etc/passwd", "a\0bcdefgh", "a" * 300, "a/b/c/d/e",
       "..\\..\\windows", "ÄÄÄÄÄÄÄÄ", "12345678\n", "alert_2026-01-01T00-00-00.000000.txt",
       "%2e%2e%2fetc", "$(touch x)", "-" * 65]  # fmt: skip


def tree(client: Client) -> set[Path]:
    """Return every path below the mesh's state, but for what its programs move all the time."""
    state = client.mesh.settings.state
    moving = ("redis", "influxdb", "logs", "run")
    return {
        path
        for path in state.rglob("*")
        if path.relative_to(state).parts[0] not in moving and not path.name.startswith(".probe")
    }


@pytest.mark.parametrize("alert_id", IDS)
def test_an_id_that_is_none_names_nothing(
    client: Client, channel: grpc.Channel, alert_id: str
) -> None:
    before = tree(client)
    data = wire.field(1, alert_id.encode())
    assert call(channel, GET, data).code() is grpc.StatusCode.NOT_FOUND
    assert call(channel, RAISE, data + EVENT).code() is grpc.StatusCode.INVALID_ARGUMENT
    for safe in ("", "/"):
        assert client.get(f"/alerts/{quote(alert_id, safe=safe)}").status in {400, 404}
    refused = client.post("/alert", {"alert_id": alert_id, "event_type": "DRILL"})
    assert refused.status == 400
    # Only what the gateway refused by itself leaves something: an alert.
    reports = client.mesh.settings.reports_dir
    for path in tree(client) - before:
        assert path.parent in {reports, reports / ".ids"}
        assert path.name.startswith(("alert_", "edge-", ".edge-"))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside the report directory that looks like a report."""
    path = tmp_path / "victim"
    path.write_text('{\n  "alert": {"alert_id": "victim-1", "event_type": "CANARY"}\n}\n')
    return path


def raise_alert(client: Client, alert_id: str, raise_time: str = "") -> Path:
    body = {"alert_id": alert_id, "event_type": "DRILL", "payload": "new"}
    answer = client.post("/alert", body | ({"raise_time": raise_time} if raise_time else {}))
    assert answer.status == 200
    return client.mesh.settings.reports_dir / str(answer.json["report"])


def require_whole_report(path: Path, alert_id: str) -> None:
    status = path.lstat()
    assert stat.S_ISREG(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    report = json.loads(path.read_text())
    assert report["alert"]["alert_id"] == alert_id
    assert report["payload"] == "new"


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(
    client: Client, victim: Path
) -> None:
    before = victim.read_text()
    (client.mesh.settings.reports_dir / ".link-temporary.tmp").symlink_to(victim)
    require_whole_report(raise_alert(client, "link-temporary"), "link-temporary")
    assert victim.read_text() == before


def test_a_link_in_the_place_of_a_report_is_neither_followed_nor_replaced(
    client: Client, victim: Path
) -> None:
    before = victim.read_text()
    link = client.mesh.settings.reports_dir / "alert_2026-01-02T03-04-05.000006.txt"
    link.symlink_to(victim)
    report = raise_alert(client, "link-report", "2026-01-02T03:04:05.000006Z")
    require_whole_report(report, "link-report")
    assert report != link
    assert link.is_symlink()
    assert victim.read_text() == before
    link.unlink()


def test_an_existing_file_is_not_overwritten(client: Client) -> None:
    there = client.mesh.settings.reports_dir / "alert_2026-01-02T03-04-06.000000.txt"
    there.write_text("mine")
    report = raise_alert(client, "existing-file", "2026-01-02T03:04:06Z")
    require_whole_report(report, "existing-file")
    assert there.read_text() == "mine"
    there.unlink()


@pytest.mark.parametrize(
    "target",
    ["../../victim", "/etc/passwd", "../alert_2026-01-02T03-04-07.000000.txt", ".", "link-claim"],
)
def test_a_link_in_the_place_of_an_identity_leads_out_of_nothing(
    client: Client, victim: Path, target: str
) -> None:
    reports = client.mesh.settings.reports_dir
    to_victim = reports / "alert_2026-01-02T03-04-07.000000.txt"
    to_victim.symlink_to(victim)
    claim = reports / ".ids" / "link-claim"
    claim.unlink(missing_ok=True)
    claim.symlink_to(target)
    answer = client.get("/alerts/link-claim")
    assert answer.status in {404, 503}
    assert b"CANARY" not in answer.body
    assert b"CANARY" not in client.get("/alerts?page_size=500").body
    report = raise_alert(client, "link-claim")
    require_whole_report(report, "link-claim")
    assert "CANARY" in victim.read_text()
    to_victim.unlink()
    report.unlink()


def test_the_report_directory_is_its_owners_alone(client: Client) -> None:
    reports = client.mesh.settings.reports_dir
    assert stat.S_IMODE(reports.stat().st_mode) == 0o700
    assert stat.S_IMODE((reports / ".ids").stat().st_mode) == 0o700
