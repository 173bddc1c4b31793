"""Programs as processes of a test's own."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

ROOT = Path(__file__).parents[2]
OUR_CODE = {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}:{ROOT / 'clients' / 'python'}"}
"""The environment in which `python -m` finds our packages."""


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return cast(int, listener.getsockname()[1])


class Process:
    """A program, started and stopped as often as a test likes; it finds our packages."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self.environment = os.environ | OUR_CODE | dict(environment or {})
        self.log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=self.environment, cwd=ROOT
            )

    @property
    def is_running(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def send(self, number: int) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def wait(self, seconds: float | None = 20.0) -> int:
        """Return the exit status. Raises subprocess.TimeoutExpired."""
        assert self._running is not None
        return self._running.wait(seconds)

    def stop(self, number: int = signal.SIGKILL, seconds: float = 20.0) -> int:
        """Stop the process, if it runs, and return its exit status: 0 if it was never started.

        Raises subprocess.TimeoutExpired.
        """
        if self._running is None:
            return 0
        if self.is_running:
            self._running.send_signal(number)
        status = self._running.wait(seconds)
        self._running = None
        return status


def limit_files(pid: int, size: int) -> None:
    """Let no file that a process writes grow beyond `size`, as a full disk would.

    `resource.RLIM_INFINITY` lifts the limit.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
