"""Ids of alerts and links in the report directory lead nowhere but to reports."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest

from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from tests.kit.client import Client
from tests.kit.waiting import eventually
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
        assert path.parent == reports / "edge"
        assert path.name.startswith(("alert_", ".edge-"))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside the report directory that looks like a report."""
    path = tmp_path / "victim"
    path.write_text('{\n  "alert": {"alert_id": "victim-1", "event_type": "CANARY"}\n}\n')
    return path


def raise_alert(client: Client, alert_id: str, raise_time: str = "") -> Path:
    """Raise an alert as the mesh does, which alone chooses ids and with them names of files."""
    alert = RaiseAlertRequest(alert_id=alert_id, event_type="DRILL")
    alert.payload.string_value = "new"
    if raise_time:
        alert.raise_time.FromJsonString(raise_time)
    with grpc.insecure_channel(f"127.0.0.1:{client.mesh.settings.alert_grpc_port}") as channel:
        answer = AlertServiceStub(channel).RaiseAlert(alert, timeout=5)
    return client.mesh.settings.reports_dir / answer.report


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


@pytest.mark.parametrize("target", ["/etc/passwd", "notes", "."])
def test_a_link_in_the_place_of_the_index_is_not_followed(
    client: Client, victim: Path, target: str
) -> None:
    reports = client.mesh.settings.reports_dir
    before = victim.read_text()
    index = reports / ".index.sqlite"
    index.unlink()
    index.symlink_to(victim if target == "notes" else target)
    client.mesh.supervisor.stop_program("alert_service")
    client.mesh.supervisor.start_program("alert_service")
    eventually(lambda: client.get("/alerts?page_size=1").status == 200)
    assert index.is_file()
    assert not index.is_symlink()
    assert victim.read_text() == before
    raise_alert(client, f"link-index-{len(target)}")


def test_the_report_directory_is_its_owners_alone(client: Client) -> None:
    reports = client.mesh.settings.reports_dir
    assert stat.S_IMODE(reports.stat().st_mode) == 0o700
    assert stat.S_IMODE((reports / "edge").stat().st_mode) == 0o700
    for path in reports.iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_nobody_takes_the_identity_of_anothers_alert(client: Client) -> None:
    """Not by choosing the id that the other will choose, nor the one that the other was told."""
    squatted = raised(client, alert_id="nightly-backup", payload="of a stranger")
    real = raised(client, alert_id="nightly-backup", payload="of the operator")
    assert len({squatted, real, "nightly-backup"}) == 3
    assert payload_of(client, real) == "of the operator"
    assert raised(client, alert_id="nightly-backup", payload="of the operator") == real
    assert client.get(f"/alerts/{real}").json["alert"]["alert_id"] == real
    assert client.get("/alerts/nightly-backup").status == 404
    # The id of a refused submission's alert is not one that a stranger could have taken.
    refused = client.submit("my ssn is 123-45-6789", request_id="identity-of-a-refusal")
    alert_id = refused.detail("ErrorInfo")["metadata"]["alert_id"]
    assert raised(client, alert_id=alert_id, payload="of a stranger") != alert_id
    assert payload_of(client, alert_id) == "my ssn is 123-45-6789"


def test_a_caller_cannot_say_what_only_the_mesh_may(client: Client) -> None:
    claims = {"at_edge": True, "client": "192.0.2.1", "finding_count": 9, "cut": True}
    ids = {raised(client, alert_id=f"claims-{number}-id", **claims) for number in range(3)}
    assert len(ids) == 3
    for alert_id in ids:
        alert = client.get(f"/alerts/{alert_id}").json["alert"]
        assert not alert["report"].startswith("edge/")
        assert (alert["client"], alert["finding_count"], alert["cut"]) == ("", 0, False)
        assert alert["count"] == 1


def raised(to: Client, **fields: object) -> str:
    """Raise an alert through the gateway and return the id that the answer tells."""
    answer = to.post("/alert", {"event_type": "DRILL", **fields})
    assert answer.status == 200
    return str(answer.json["alert_id"])


def payload_of(client: Client, alert_id: str) -> object:
    # Ingest may not have found the alert service again that a test before this one started anew.
    file = eventually(lambda: client.reports().get(alert_id))
    return json.loads(file.read_text())["payload"]
