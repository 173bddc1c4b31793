"""InfluxDB of the running mesh: nobody comes in through a browser, and no password gets out."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from deploy.local.credentials import credential_file
from deploy.local.mesh import LocalMesh
from tests.kit.client import Client
from tests.security import canary

ROOT = Path(__file__).parents[2]
FROM_A_PAGE = {
    "Origin": "https://evil.example",
    "Content-Type": "application/x-www-form-urlencoded",
}
"""What a browser sends for a page of somebody else, without asking anybody first."""


def passwords(mesh: LocalMesh) -> list[str]:
    paths = [credential_file(mesh.settings, role) for role in ("admin", "writer", "reader")]
    return [path.read_text().partition(":")[2] for path in paths]


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM interactions", "SHOW DATABASES", "DROP DATABASE logs"]
)
def test_a_page_can_neither_read_nor_drop(mesh: LocalMesh, client: Client, statement: str) -> None:
    task_id = client.submit("kept from pages").json["task_id"]
    assert client.finished(task_id)["state"] == "TASK_STATE_SUCCEEDED"
    body = urllib.parse.urlencode({"db": "logs", "q": statement}).encode()
    request = urllib.request.Request(f"{mesh.influx_url}/query", body, FROM_A_PAGE)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    with refused.value as answer:
        assert answer.code == 401
        assert task_id.encode() not in answer.read()
    assert len(client.rows(f"task_id = '{task_id}'")) == 1


def test_a_page_cannot_write(mesh: LocalMesh) -> None:
    url = f"{mesh.influx_url}/write?db=logs"
    request = urllib.request.Request(url, b"interactions source=1", FROM_A_PAGE)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    with refused.value as answer:
        assert answer.code == 401


def test_no_password_is_in_any_file_of_the_mesh_but_its_own(mesh: LocalMesh) -> None:
    state = mesh.settings.state
    for name in ("config", "logs", "run", "influxdb", "bin"):
        assert canary.found(passwords(mesh), list(canary.files(state / name))) == []


def test_no_password_is_in_any_command_line_or_environment(mesh: LocalMesh) -> None:
    seen = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        seen += str(mesh.settings.state).encode() in told
        assert not [each for each in passwords(mesh) if each.encode() in told]
    assert seen > 2


def test_no_password_is_told_by_a_command(mesh: LocalMesh) -> None:
    environment = os.environ | {"SLUICE_STATE": str(mesh.settings.state)}
    for verb in ("status", "audit"):
        done = subprocess.run(
            ["make", verb], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert "influxdb" in done.stdout or "rows in InfluxDB" in done.stdout
        assert not [each for each in passwords(mesh) if each in done.stdout + done.stderr]
