"""Creates the users of influxd and becomes influxd. Standard library only.

`python -m deploy.local.influxd INFLUXD CONFIG DATA CREDENTIALS` makes the database and the users
that the files in CREDENTIALS name, and becomes `INFLUXD -config CONFIG`, whose data lies in DATA.

While InfluxDB has no users, anyone who reaches it may create its first admin, even a web page in a
browser. So it is not reachable before the users exist: a first influxd runs only on the folder with
the users, and listens on a socket in a folder that nobody else can enter. Every step may be
repeated, so being killed in between does no harm; a file beside the users says when all exist.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

from deploy.local.sockets import SocketConnection

DATABASE = "logs"
PRIVILEGES = {"writer": "WRITE", "reader": "READ"}
ADMIN = "admin"
DONE = "users-made"
SCRATCH = "first-start"

PR_SET_PDEATHSIG = 1
START_SECONDS = 30.0

UNKNOWN_ADMIN = (
    "InfluxDB has an admin whose password is not the one in {path}. Put back the file that was "
    "there, or start anew without the data: make clean"
)


class Refused(Exception):
    """InfluxDB refused a statement. The exception holds no text, as that could hold a password."""


def main(influxd: str, config: str, data: Path, credentials: Path) -> None:
    """Make what is missing and become influxd."""
    try:
        users = {role: (credentials / role).read_text() for role in (ADMIN, *PRIVILEGES)}
    except FileNotFoundError as error:
        sys.exit(
            f"There is no {error.filename}: put it back, or make a new one: make down, make up"
        )
    # It lies beside the users, and is deleted with them.
    done = data / "meta" / DONE
    digest = hashlib.sha256("\n".join(users.values()).encode()).hexdigest()
    if not done.exists() or done.read_text() != digest:
        passwords = {role: text.partition(":")[2] for role, text in users.items()}
        # An earlier run that was killed may have left it.
        scratch = data / SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700, parents=True)
        try:
            # A path from here is short enough for a socket, wherever here is.
            with contextlib.chdir(scratch):
                _make_users([influxd, "-config", config], passwords)
        except Refused:
            sys.exit(UNKNOWN_ADMIN.format(path=credentials / ADMIN))
        except (OSError, http.client.HTTPException, ValueError) as error:
            sys.exit(f"InfluxDB ended while its users were made ({type(error).__name__}).")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        done.parent.mkdir(exist_ok=True)
        fresh = done.with_name(f".{DONE}")
        fresh.write_text(digest)
        fresh.replace(done)
    os.execv(influxd, [influxd, "-config", config])  # noqa: S606


def _make_users(command: list[str], passwords: dict[str, str]) -> None:
    """Run influxd in this folder, where nobody else reaches it, and make its users.

    Raises Refused when somebody else has made an admin.
    """
    path = Path("influxd.sock")
    environment = {
        "INFLUXDB_BIND_ADDRESS": "127.0.0.1:0",
        "INFLUXDB_HTTP_BIND_ADDRESS": "127.0.0.1:0",
        "INFLUXDB_HTTP_UNIX_SOCKET_ENABLED": "true",
        "INFLUXDB_HTTP_BIND_SOCKET": str(path),
        # Without the rows it starts quickly, however many there are, and can remove none.
        "INFLUXDB_DATA_DIR": "data",
        "INFLUXDB_DATA_WAL_DIR": "wal",
        "INFLUXDB_RETENTION_ENABLED": "false",
        "INFLUXDB_SHARD_PRECREATION_ENABLED": "false",
    }
    us = os.getpid()

    def end_with_us() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # We may have ended before that call.
        if os.getppid() != us:
            os._exit(1)

    with subprocess.Popen(command, env=os.environ | environment, preexec_fn=end_with_us) as child:
        try:
            _await_socket(path, child)
            admin = (ADMIN, passwords[ADMIN])
            try:
                _query(path, f"CREATE USER {ADMIN} {_with(admin[1])} WITH ALL PRIVILEGES")
            except Refused:
                # There is an admin already: ours, unless it has another password.
                _query(path, "SHOW USERS", admin)
            _query(path, f'CREATE DATABASE "{DATABASE}"', admin)
            for role, privilege in PRIVILEGES.items():
                try:
                    _query(path, f"CREATE USER {role} {_with(passwords[role])}", admin)
                except Refused:
                    _query(path, f"SET PASSWORD FOR {role} = '{passwords[role]}'", admin)
                _query(path, f"REVOKE ALL PRIVILEGES FROM {role}", admin)
                _query(path, f'GRANT {privilege} ON "{DATABASE}" TO {role}', admin)
        finally:
            child.terminate()
            child.wait()


def _with(password: str) -> str:
    return f"WITH PASSWORD '{password}'"


def _await_socket(path: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
                return
            except OSError:
                pass
        if child.poll() is not None or time.monotonic() > deadline:
            sys.exit("InfluxDB did not start, so that its users could be made.")
        time.sleep(0.02)


def _query(path: Path, text: str, user: tuple[str, str] | None = None) -> Any:
    """Send InfluxDB a statement and return its answer. Raises Refused."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
    with contextlib.closing(SocketConnection(path, START_SECONDS)) as connection:
        connection.request("POST", "/query", urllib.parse.urlencode({"q": text}), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
    if answer.status != 200 or any("error" in each for each in content.get("results", [])):
        raise Refused
    return content


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
