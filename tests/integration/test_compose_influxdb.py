"""The users of InfluxDB in compose: the container's own script, without the container."""

from __future__ import annotations

import os
import signal
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.parts import INFLUX, INFLUXD, go_program
from tests.kit.influxdb import status_of_post
from tests.kit.processes import ROOT, Process, free_port
from tests.kit.servers import await_influxdb
from tests.kit.waiting import eventually

SCRIPT = ROOT / "deploy" / "compose" / "influxdb.sh"
READ = "SELECT * FROM interactions"


class Container:
    def __init__(self, folder: Path) -> None:
        self.credentials = folder / "credentials"
        self.log = folder / "log"
        self.url = f"http://127.0.0.1:{free_port()}"
        for each in ("credentials", "bin"):
            (folder / each).mkdir()
        for program in (INFLUXD, INFLUX):
            (folder / "bin" / program.name).symlink_to(go_program(program, print))
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SLUICE_CREDENTIALS": str(self.credentials),
            "SLUICE_WORKER_USER": str(os.getuid()),
            "INFLUXDB_META_DIR": str(folder / "meta"),
            "INFLUXDB_DATA_DIR": str(folder / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(folder / "wal"),
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
            "INFLUXDB_HTTP_BIND_ADDRESS": self.url.removeprefix("http://"),
            "INFLUXDB_HTTP_AUTH_ENABLED": "true",
            "INFLUXDB_REPORTING_DISABLED": "true",
        }
        self.process: Process | None = None

    def start(self, **environment: str) -> Process:
        self.process = Process([str(SCRIPT)], self.log, self.environment | environment)
        self.process.start()
        return self.process

    def stop(self) -> None:
        if self.process:
            self.process.stop(signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything at once, as the end of a container does."""
        assert self.process is not None
        self.process.stop(signal.SIGKILL)
        mine = f"SLUICE_CREDENTIALS={self.credentials}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mine in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def await_answer(self) -> None:
        await_influxdb(self.url)

    def credential(self, role: str) -> str:
        return (self.credentials / role).read_text()

    def status(self, path: str, body: str, credential: str) -> int:
        headers = {"Authorization": f"Token {credential}"} if credential else {}
        return status_of_post(f"{self.url}{path}", body, headers)

    def write(self, credential: str) -> int:
        return self.status("/write?db=logs", "interactions source=1", credential)

    def query(self, credential: str, text: str = READ) -> int:
        query = urllib.parse.urlencode({"db": "logs", "q": text})
        return self.status("/query", query, credential)

    def assert_users(self) -> None:
        writer, reader = self.credential("writer"), self.credential("reader")
        assert (self.write(writer), self.query(writer)) == (204, 403)
        assert (self.write(reader), self.query(reader)) == (403, 200)
        assert (self.write(""), self.query("")) == (401, 401)
        assert self.query(reader, "DROP DATABASE logs") == 403
        assert self.query(self.credential("admin"), "SHOW USERS") == 200


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path)
    yield container
    container.stop()


def test_users_are_made_once_and_kept(container: Container) -> None:
    container.start()
    container.await_answer()
    container.assert_users()
    made = {role: container.credential(role) for role in ("admin", "writer", "reader")}
    for role, credential in made.items():
        assert stat.S_IMODE((container.credentials / role).stat().st_mode) == 0o600
        assert len(credential.partition(":")[2]) > 30
        assert credential.partition(":")[2] not in container.log.read_text()
    container.stop()
    container.start()
    container.await_answer()
    container.assert_users()
    assert {role: container.credential(role) for role in made} == made


def test_a_first_start_that_is_killed_is_repeated(container: Container) -> None:
    meta = Path(container.environment["INFLUXDB_META_DIR"]) / "meta.db"
    for known in (b"admin", b"writer", b"reader"):
        container.start()
        eventually(lambda known=known: known in meta.read_bytes())  # type: ignore[misc]
        container.kill()
        assert not (meta.parent / "users-made").exists()
    container.start()
    container.await_answer()
    container.assert_users()


def test_a_reader_may_have_a_password_that_was_chosen(container: Container) -> None:
    container.start()
    container.await_answer()
    container.stop()
    container.start(INFLUX_USERNAME="reader", INFLUX_PASSWORD="chosen-1")
    container.await_answer()
    assert container.query("reader:chosen-1") == 200
    container.assert_users()
    container.stop()
    process = container.start(INFLUX_PASSWORD="it's")
    assert process.wait(20) == 2
    assert "it's" not in container.log.read_text()
