"""Redis and InfluxDB as processes of a test's own, on free ports."""

from __future__ import annotations

import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import redis

from deploy.local import parts
from deploy.local.parts import INFLUXD, go_program
from tests.kit import influxdb
from tests.kit.processes import Process, free_port
from tests.kit.waiting import eventually


class Redis:
    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=2)
        self._directory = directory
        directory.mkdir()
        command = [str(parts.redis_server()), "--port", str(self.port), "--dir", str(directory)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", *options]
        self.process = Process(command, directory / "redis.log")

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
        environment = {
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_META_DIR": str(directory / "meta"),
            "INFLUXDB_DATA_DIR": str(directory / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(directory / "wal"),
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{rpc}",
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_MONITOR_STORE_ENABLED": "false",
        }
        command = [str(go_program(INFLUXD, print))]
        self.process = Process(command, directory / "influx.log", environment)

    def start(self) -> None:
        self.process.start()
        await_influxdb(self.url)

    def query(self, text: str) -> list[dict[str, Any]]:
        return influxdb.query(self.url, {}, text)

    def rows(self) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM interactions")


def await_influxdb(url: str, seconds: float = 20.0) -> None:
    """Wait until an InfluxDB answers."""

    def answers() -> bool:
        with urllib.request.urlopen(f"{url}/ping", timeout=1):
            return True

    eventually(answers, seconds, "InfluxDB did not start")
