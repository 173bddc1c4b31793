"""The local mesh under its supervisor: what is killed comes back, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.mesh import LocalMesh, MeshError
from deploy.local.programs import Program
from deploy.local.supervision import Supervisor
from tests.kit.meshes import running_mesh
from tests.kit.waiting import eventually

BACK_SECONDS = 3.0
"""How soon a killed program has a process again: supervisord looks once a second."""

START_AND_HANG = """
import sys, signal
from pathlib import Path
from deploy.local.mesh import LocalMesh
LocalMesh.on_free_ports(Path(sys.argv[1])).start()
print("started", flush=True)
signal.pause()
"""


def processes(state: Path) -> list[int]:
    """Return every process that has `state` in its command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(state).encode() in told and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.fixture(name="mesh", scope="module")
def _mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    state = tmp_path_factory.mktemp("supervised")
    with running_mesh(state, {"SLUICE_TEST_STATE": str(state)}) as mesh:
        yield mesh
    assert processes(state) == []


@pytest.mark.parametrize(
    "name", ["redis", "influxdb", "worker", "alert_service", "ingest_service", "api_gateway"]
)
def test_a_killed_program_comes_back(mesh: LocalMesh, name: str) -> None:
    mesh.wait_healthy()
    old = mesh.supervisor.pid(name)
    mesh.supervisor.signal(name, signal.SIGKILL)
    eventually(lambda: mesh.supervisor.pid(name) not in (0, old), BACK_SECONDS)
    mesh.wait_healthy()


def test_a_killed_supervisor_leaves_nothing_and_starts_again(mesh: LocalMesh) -> None:
    mesh.wait_healthy()
    data = mesh.settings.state / "redis" / "appendonlydir"
    assert data.exists()
    pidfile = mesh.settings.state / "run" / "supervisord.pid"
    os.kill(int(pidfile.read_text()), signal.SIGKILL)
    eventually(lambda: not processes(mesh.settings.state), BACK_SECONDS)
    mesh.start()
    assert set(mesh.health().values()) == {"healthy"}
    assert data.exists()


def test_a_second_mesh_on_the_same_ports_is_refused_in_one_line(
    mesh: LocalMesh, tmp_path: Path
) -> None:
    other = LocalMesh(mesh.settings.model_copy(update={"state": tmp_path}))
    with pytest.raises(MeshError, match=r"^Port \d+ \(gateway\) is taken by envoy") as refused:
        other.start()
    assert "\n" not in str(refused.value)
    assert not other.supervisor.running()
    assert mesh.supervisor.running()


def test_the_running_mesh_is_found_with_the_settings_it_was_started_with(mesh: LocalMesh) -> None:
    found = LocalMesh.that_runs(mesh.settings.state)
    assert found is not None
    assert found.settings == mesh.settings


def test_what_fails_at_once_is_tried_once_a_second_for_ever(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    supervisor = Supervisor(tmp_path, attached=True)
    failing = Program("failing", 1, [sys.executable, "-c", "print('tried')"], lambda: None)
    supervisor.start([failing])
    try:
        log = supervisor.logs / "failing.log"
        begun = time.monotonic()
        eventually(lambda: log.exists() and log.read_text().count("tried") >= 4, 12.0)
        assert time.monotonic() - begun > 2.0
        assert supervisor.programs()["failing"]["statename"] in {"RUNNING", "EXITED", "STARTING"}
    finally:
        supervisor.stop()


def test_a_test_mesh_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_HANG, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as starter:
        assert starter.stdout is not None
        while starter.stdout.readline() != "started\n":
            assert starter.poll() is None
        assert len(processes(tmp_path)) > 3
        starter.kill()
    eventually(lambda: not processes(tmp_path), BACK_SECONDS)
