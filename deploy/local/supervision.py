"""The supervisor: its configuration, and talking to it over its socket."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local.bootstrap import ROOT
from deploy.local.parts import tool
from deploy.local.programs import Program
from deploy.local.sockets import SocketConnection

LONGEST_SOCKET_PATH = 100
RUN_SUPERVISED = (sys.executable, "-S", str(Path(__file__).with_name("run_supervised.py")))
STOP_SECONDS = 20
ANSWER_SECONDS = 60
START_SECONDS = 10.0

SUPERVISOR_CONF = """\
[supervisord]
logfile={logs}/supervisord.log
logfile_maxbytes=10MB
logfile_backups=2
pidfile={run}/supervisord.pid
childlogdir={logs}
directory={root}
umask=077

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# startsecs=0: a program that exits is started again at once, for ever, however soon it exits;
# run_supervised.py limits that to once a second. startretries is for run_supervised.py itself.
PROGRAM_CONF = """
[program:{name}]
command={command}
priority={rank}
autostart=true
autorestart=true
startsecs=0
startretries=1000000
stopsignal=TERM
stopwaitsecs={stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=3
"""


UNAVAILABLE = (OSError, http.client.HTTPException, xmlrpc.client.Error)
"""What a call raises when there is no supervisor, or one that is about to end."""


class Supervisor:
    """One supervisord with its programs, in a state directory of its own.

    `attached` makes it end with the thread that starts it, however that thread ends.
    """

    def __init__(self, state: Path, attached: bool = False) -> None:
        self._state = state
        self._attached = attached
        self._child: subprocess.Popen[bytes] | None = None
        self.logs = state / "logs"
        self._run = state / "run"
        path = self._run / "supervisor.sock"
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            # The system allows a socket's path 107 bytes.
            digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}-{digest}.sock"
        self._socket = path

    def running(self) -> bool:
        """Tell whether the supervisor answers and is not about to end."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except UNAVAILABLE:
            return False

    def start(self, programs: Sequence[Program]) -> None:
        """Start the supervisor, and with it every program. Raises RuntimeError when it cannot."""
        for folder in (self.logs, self._run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stamp in self._run.glob("*.started"):
            stamp.unlink()
        config = self._state / "config" / "supervisord.conf"
        config.write_text(self._render(programs))
        for program in programs:
            self._write_command(program.name, program.command, program.environment)
        command = [str(tool("supervisord")), "-c", str(config)]
        if self._attached:
            self._write_command("supervisord", [*command, "--nodaemon"], {})
            self._child = subprocess.Popen(
                [*RUN_SUPERVISED, self._run / "supervisord"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        else:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"The supervisor did not start: {_reason(done.stderr)}")
        self._wait_until(self.running, "The supervisor does not answer")

    def stop(self) -> None:
        """Stop every program, the last started first, and the supervisor. Waits until it is gone.

        Raises RuntimeError when it stays.
        """
        if self.running():
            self._call("shutdown")
        self.wait_gone()

    def wait_gone(self) -> None:
        """Wait until a supervisor that is about to end is gone. Raises RuntimeError if it stays."""
        self._wait_until(self._gone, "The supervisor does not end", 6 * STOP_SECONDS)

    def programs(self) -> dict[str, dict[str, Any]]:
        """Return what the supervisor knows of each program: statename, pid, start, now."""
        return {each["name"]: each for each in self._call("getAllProcessInfo")}

    def pid(self, name: str) -> int:
        """Return a program's process id, 0 while it has none."""
        return int(self.programs()[name]["pid"])

    def restart(self, name: str) -> None:
        """Stop a program by its stop signal, and start it again."""
        self.stop_program(name)
        self.start_program(name)

    def stop_program(self, name: str) -> None:
        """Stop a program and leave it stopped."""
        self._call("stopProcess", name)

    def start_program(self, name: str) -> None:
        """Start a program that was stopped."""
        self._call("startProcess", name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program. What dies of it is started again.

        Raises RuntimeError while the program has no process.
        """
        pid = self.pid(name)
        if pid == 0:
            raise RuntimeError(f"{name} is not running")
        os.kill(pid, number)

    def _gone(self) -> bool:
        # A call makes it look at once for programs that have ended. Its socket goes last.
        try:
            self._call("getState")
        except OSError:
            return self._child is None or self._child.poll() is not None
        except UNAVAILABLE:
            pass
        return False

    def _write_command(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        start = {"command": command, "environment": dict(environment)}
        (self._run / f"{name}.json").write_text(json.dumps(start, indent=1))

    def _render(self, programs: Sequence[Program]) -> str:
        paths = {"logs": _escape(str(self.logs)), "run": _escape(str(self._run))}
        text = SUPERVISOR_CONF.format(
            root=_escape(str(ROOT)), socket=_escape(str(self._socket)), **paths
        )
        for program in programs:
            text += PROGRAM_CONF.format(
                name=program.name,
                command=_escape(shlex.join([*RUN_SUPERVISED, str(self._run / program.name)])),
                rank=program.rank,
                stop_seconds=STOP_SECONDS,
                **paths,
            )
        return text

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _SocketTransport(self._socket)
        with xmlrpc.client.ServerProxy("http://supervisor", transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _wait_until(self, condition: Any, otherwise: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(otherwise)
            time.sleep(0.05)


def _reason(printed: str) -> str:
    """Return the line with the error; help follows it."""
    lines = printed.strip().splitlines()
    return next((line for line in lines if line.startswith("Error:")), " ".join(lines[-1:]))


def _escape(text: str) -> str:
    return text.replace("%", "%%")


class _SocketTransport(xmlrpc.client.Transport):
    """Speaks XML-RPC over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = SocketConnection(self._path, ANSWER_SECONDS)
        # The transport closes what it finds here.
        self._connection = (host, connection)
        return connection
