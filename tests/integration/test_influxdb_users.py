"""The users of the InfluxDB that is started here: who may do what, and that they are there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import parts, programs
from deploy.local.credentials import Role, authorization, credential_file, keep_credentials
from deploy.local.mesh import LocalMesh
from deploy.local.settings import LocalSettings
from tests.kit.influxdb import status_of_post
from tests.kit.processes import ROOT, Process, free_port
from tests.kit.servers import Influx, await_influxdb
from tests.kit.waiting import eventually
from worker.settings import WorkerSettings
from worker.sinks.influxdb.writer import InfluxDBWriter
from worker.waiting import Outage

ROW = 'interactions,verdict=accepted task_id="t" 1'
READ = "SELECT * FROM interactions"


class Database:
    """InfluxDB as the mesh starts it, alone."""

    def __init__(self, state: Path) -> None:
        self.settings = LocalSettings(
            state=state, influx_url="", influx_port=free_port(), influx_rpc_port=free_port()
        )
        (state / "logs").mkdir(parents=True)
        self.log = state / "logs" / "influxdb.log"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return programs.influx_url(self.settings)

    def launch(self) -> Process:
        """Start it, and leave it to do so."""
        keep_credentials(self.settings)
        return self.launch_with_what_there_is()

    def launch_with_what_there_is(self) -> Process:
        every = programs.all_programs(self.settings, print)
        (program,) = [each for each in every if each.name == "influxdb"]
        for folder in (*program.folders, *(path.parent for path in program.files)):
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in program.files.items():
            path.write_text(text)
        self._process = Process(program.command, self.log, {})
        self._process.start()
        return self._process

    def start(self) -> None:
        self.launch()
        await_influxdb(self.url)

    def stop(self) -> None:
        if self._process:
            self._process.stop(signal.SIGTERM)

    def status(self, path: str, role: Role | None, body: str, **headers: str) -> int:
        """Return the status of a POST as somebody, or as nobody."""
        own = authorization(self.settings, role) if role else {}
        return status_of_post(f"{self.url}{path}", body, own | headers)

    def write(self, role: Role | None, **headers: str) -> int:
        return self.status("/write?db=logs", role, ROW, **headers)

    def query(self, role: Role | None, text: str, **headers: str) -> int:
        query = urllib.parse.urlencode({"db": "logs", "q": text})
        return self.status("/query", role, query, **headers)

    def rows(self, role: Role = "reader") -> bytes:
        query = urllib.parse.urlencode({"db": "logs", "q": READ})
        headers = authorization(self.settings, role)
        request = urllib.request.Request(f"{self.url}/query?{query}", headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bytes(answer.read())

    def worker_settings(self, token: str) -> WorkerSettings:
        return WorkerSettings.model_validate({"influx_url": self.url, "influx_token": token})


def processes_of(state: Path) -> list[str]:
    """Return the command lines that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in line:
            found.append(line)
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "the state")
    yield database
    database.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("users") / "state")
    database.start()
    yield database
    database.stop()


def test_the_writer_writes_and_cannot_read_or_drop(running: Database) -> None:
    assert running.write("writer") == 204
    assert running.query("writer", READ) == 403
    for statement in ("DROP DATABASE logs", "DROP MEASUREMENT interactions", "SHOW USERS"):
        assert running.query("writer", statement) == 403


def test_the_reader_reads_and_cannot_write_or_drop(running: Database) -> None:
    assert running.write("writer") == 204
    assert b'"t"' in running.rows()
    assert running.write("reader") == 403
    for statement in (
        "DROP DATABASE logs",
        "DROP MEASUREMENT interactions",
        "DELETE FROM interactions",
        "CREATE DATABASE other",
        "SELECT * INTO others FROM interactions",
        "SET PASSWORD FOR admin = 'x'",
        "GRANT ALL TO reader",
    ):
        assert running.query("reader", statement) == 403


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}])
def test_nobody_else_gets_in(running: Database, headers: dict[str, str]) -> None:
    for statement in (
        READ,
        "SHOW DATABASES",
        "DROP DATABASE logs",
        "CREATE USER evil WITH PASSWORD 'x' WITH ALL PRIVILEGES",
    ):
        assert running.query(None, statement, **headers) == 401
    assert running.write(None, **headers) == 401
    assert running.status("/api/v2/write?bucket=logs", None, ROW, **headers) == 401
    assert running.status("/api/v1/prom/write?db=logs", None, "", **headers) == 401
    assert running.status("/api/v1/prom/read?db=logs", None, "", **headers) == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ping", 204),
        ("/health", 200),
        ("/debug/vars", 401),
        ("/debug/requests", 401),
        ("/debug/pprof/cmdline", 401),
        ("/debug/pprof/profile", 401),
        ("/debug/pprof/all", 401),
        ("/debug/pprof/heap", 404),
    ],
)
def test_only_liveness_is_told_without_credentials(
    running: Database, path: str, status: int
) -> None:
    try:
        with urllib.request.urlopen(f"{running.url}{path}", timeout=5) as answer:
            assert answer.status == status
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == status


def test_the_worker_knows_whether_it_may_write(running: Database) -> None:
    credential = credential_file(running.settings, "writer").read_text()
    InfluxDBWriter(running.worker_settings(credential)).ping()
    for token, reason in (
        (credential_file(running.settings, "reader").read_text(), "FORBIDDEN"),
        ("writer:wrong", "UNAUTHORIZED"),
        ("", "UNAUTHORIZED"),
    ):
        with pytest.raises(Outage) as outage:
            InfluxDBWriter(running.worker_settings(token)).ping()
        assert outage.value.reason == reason
        assert "SLUICE_INFLUX_TOKEN" in outage.value.advice
        assert "wrong" not in outage.value.advice


def test_passwords_are_their_owners_and_stay_the_same(database: Database) -> None:
    keep_credentials(database.settings)
    paths = [credential_file(database.settings, role) for role in ("admin", "writer", "reader")]
    first = [path.read_text() for path in paths]
    assert len({text.partition(":")[2] for text in first}) == 3
    for path, text in zip(paths, first, strict=True):
        assert re.fullmatch(rf"{path.name}:[\w-]{{40,}}", text)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700
    keep_credentials(database.settings)
    assert [path.read_text() for path in paths] == first


def test_being_killed_at_any_moment_of_the_first_start_does_no_harm(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The users are made in a fraction of a second: each try gets a little further."""
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    done = database.settings.state / "influxdb" / "meta" / "users-made"
    tries = 0
    while not done.exists():
        tries += 1
        process = database.launch()
        end = time.monotonic() + 0.02 * 1.5**tries
        while time.monotonic() < end and not done.exists():
            time.sleep(0.001)
        process.stop(signal.SIGKILL)
        # What it had started ends with it.
        eventually(lambda: not processes_of(database.settings.state))
    assert tries > 3
    database.start()
    assert database.write("writer") == 204
    assert b'"t"' in database.rows()
    assert database.query(None, READ) == 401
    folders = {path.name for path in (database.settings.state / "influxdb").iterdir()}
    assert folders == {"meta", "data", "wal"}
    assert list(elsewhere.iterdir()) == []


def test_a_state_folder_may_be_too_deep_for_a_socket(tmp_path: Path) -> None:
    database = Database(tmp_path / ("deep" * 30))
    try:
        database.start()
        assert database.write("writer") == 204
    finally:
        database.stop()


def test_data_from_before_there_were_users_stays(database: Database) -> None:
    settings = database.settings
    config = settings.state / "open.conf"
    config.write_text(programs.influx_conf(settings, settings.state / "influxdb", has_users=False))
    influxd = parts.go_program(parts.INFLUXD, print)
    before = Process([str(influxd), "-config", str(config)], database.log, {})
    before.start()
    await_influxdb(database.url)
    assert database.query(None, "CREATE DATABASE logs") == 200
    assert database.write(None) == 204
    before.stop(signal.SIGTERM)
    database.start()
    assert b'"t"' in database.rows()
    assert database.query(None, READ) == 401
    assert database.write("writer") == 204


def test_a_lost_password_is_made_anew(database: Database) -> None:
    database.start()
    database.write("writer")
    database.stop()
    credential_file(database.settings, "reader").unlink()
    credential_file(database.settings, "writer").unlink()
    database.start()
    assert b'"t"' in database.rows()
    assert database.write("writer") == 204


def test_an_admin_of_somebody_else_is_noticed(database: Database) -> None:
    database.start()
    database.stop()
    path = credential_file(database.settings, "admin")
    path.unlink()
    process = database.launch()
    assert process.wait(20) == 1
    assert f"an admin whose password is not the one in {path}" in database.log.read_text()
    assert path.read_text().partition(":")[2] not in database.log.read_text()


def test_a_missing_password_is_told_in_a_line(database: Database) -> None:
    database.start()
    database.stop()
    path = credential_file(database.settings, "reader")
    path.unlink()
    assert database.launch_with_what_there_is().wait(20) == 1
    last = database.log.read_text().splitlines()[-1]
    assert last.startswith(f"There is no {path}: put it back")
    assert "Traceback" not in database.log.read_text()


def test_an_influxdb_that_does_not_start_is_told_in_a_line(tmp_path: Path) -> None:
    settings = LocalSettings(state=tmp_path, influx_url="")
    keep_credentials(settings)
    command = [sys.executable, "-m", "deploy.local.influxd", "/bin/false", str(tmp_path / "conf")]
    command += [str(tmp_path / "data"), str(credential_file(settings, "admin").parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "InfluxDB did not start, so that its users could be made.\n"


def test_users_that_were_deleted_with_the_data_are_made_again(database: Database) -> None:
    database.start()
    database.stop()
    shutil.rmtree(database.settings.state / "influxdb" / "meta")
    database.start()
    assert database.query(None, READ) == 401
    assert database.write("writer") == 204


@pytest.fixture
def unprotected(tmp_path: Path) -> Iterator[Influx]:
    influx = Influx(tmp_path / "there already")
    influx.start()
    yield influx
    influx.process.stop()


def test_a_named_influxdb_without_users_works_with_a_warning(
    tmp_path: Path, unprotected: Influx
) -> None:
    mesh = LocalMesh.on_free_ports(tmp_path / "mesh", influx_url=unprotected.url)
    state = {"SLUICE_STATE": str(mesh.settings.state), "SLUICE_INFLUX_TOKEN": ""}
    mesh.start()
    try:
        request = urllib.request.Request(
            f"http://{mesh.gateway}/submit",
            b'{"data":"hello"}',
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        eventually(lambda: len(unprotected.rows()) == 1)
        for verb in ("status", "up"):
            told = subprocess.run(
                ["make", "--silent", verb], env=os.environ | state, capture_output=True, text=True
            )
            assert told.returncode == 0, told.stderr
            assert "lets everybody in" in told.stdout
        influx = str(mesh.settings.state / "bin" / "influx")
        query = [influx, "-database", "logs", "-execute", READ]
        assert "hello" in subprocess.run(query, capture_output=True, text=True).stdout
    finally:
        mesh.stop()
    assert '"event": "InfluxDB is open"' in (mesh.supervisor.logs / "worker.log").read_text()
