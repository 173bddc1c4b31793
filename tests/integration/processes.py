"""Real parts as processes of a test's own, on free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import redis

from deploy.local import parts
from deploy.local.parts import INFLUXD, go_program

ROOT = Path(__file__).parents[2]

Result = TypeVar("Result")


def eventually(check: Callable[[], Result], seconds: float = 20.0) -> Result:
    """Return the first true answer of `check`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except (OSError, redis.RedisError, grpc.RpcError):
            found = cast(Result, None)
        if found:
            return found
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return cast(int, listener.getsockname()[1])


class Process:
    """A real part, started and stopped as often as a test likes."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str]) -> None:
        self._command = command
        self._env = os.environ | env
        self.log = log
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=self._env, cwd=ROOT
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.running is not None
        return self.running

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGKILL) -> int:
        """Stop the process and return its exit status."""
        if self.running is None:
            return 0
        if self.running.poll() is None:
            self.running.send_signal(number)
        status = self.running.wait(20)
        self.running = None
        return status


class Redis:
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=2)
        self._directory = directory
        directory.mkdir()
        command = [str(parts.redis_server()), "--port", str(self.port), "--dir", str(directory)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        self.process = Process(command, directory / "redis.log", {})

    def start(self) -> None:
        self.process.start()
        eventually(self.client.ping)

    def copy(self) -> Path:
        """Return a copy of its append-only file, as a backup has it."""
        # It is written before the answer, and everysec waits for the disk only.
        self.client.ping()
        target = self._directory.with_name(f"{self._directory.name}-{time.monotonic_ns()}")
        return Path(shutil.copytree(self._directory, target))

    def restore(self, copy: Path) -> None:
        """Start anew from a copy."""
        self.process.stop()
        shutil.rmtree(self._directory)
        shutil.copytree(copy, self._directory)
        self.start()


class Influx:
    def __init__(self, directory: Path) -> None:
        self.port, rpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir()
        env = {
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_META_DIR": str(directory / "meta"),
            "INFLUXDB_DATA_DIR": str(directory / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(directory / "wal"),
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{rpc}",
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
        }
        self.process = Process([str(go_program(INFLUXD, print))], directory / "influx.log", env)

    def start(self) -> None:
        self.process.start()
        eventually(lambda: urllib.request.urlopen(f"{self.url}/ping", timeout=1))

    def query(self, text: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"db": "logs", "q": text, "epoch": "ns"})
        request = urllib.request.Request(f"{self.url}/query?{query}", method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            (result,) = json.load(answer)["results"]
        series = result.get("series", [])
        return [
            dict(zip(each["columns"], row, strict=True))
            for each in series
            for row in each["values"]
        ]

    def rows(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM interactions")
