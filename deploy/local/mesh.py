"""The local mesh as one thing: start it, ask it, stop it. `make up` and the tests use the same."""

from __future__ import annotations

import random
import socket
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from deploy.local import parts, programs
from deploy.local.settings import HOST, LocalSettings
from deploy.local.supervision import Supervisor

HEALTHY_SECONDS = 60.0
CHECK_SECONDS = 0.1
TEST_PORTS = range(20_000, 32_000)
"""Below the ports that systems hand out by themselves."""


class MeshError(Exception):
    """The mesh cannot do what was asked; the text is for people and says what to do."""


class LocalMesh:
    """One mesh with its settings.

    `environment` is added to that of every Python process.
    """

    def __init__(
        self,
        settings: LocalSettings,
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.settings = settings
        self.supervisor = Supervisor(settings.state)
        self._environment = environment
        self._say = say
        self._programs: list[programs.Program] | None = None

    @classmethod
    def on_free_ports(
        cls,
        state: Path,
        environment: Mapping[str, str] | None = None,
        **changes: int | str,
    ) -> Self:
        """Return a mesh beside all others, with its data, logs and reports under `state`.

        `changes` are settings by name, for example `worker_processes=2`.
        """
        settings = LocalSettings().model_copy(update={"redis_url": "", "influx_url": "", **changes})
        return cls(settings.at(state, _free_ports(settings)), environment)

    @property
    def gateway(self) -> str:
        """Address of the gateway, `host:port`."""
        return f"{HOST}:{self.settings.gateway_port}"

    @property
    def alert_door(self) -> str:
        """Address of the alert engine's own door, `host:port`."""
        return f"{HOST}:{self.settings.alert_port}"

    @property
    def redis_url(self) -> str:
        """Where Redis is."""
        return programs.redis_url(self.settings)

    @property
    def influx_url(self) -> str:
        """Where InfluxDB is."""
        return programs.influx_url(self.settings)

    def start(self) -> None:
        """Start everything and wait until all of it is healthy.

        Raises MeshError when a port is taken or a program does not become healthy, and
        parts.PartMissing when a part can be neither found nor built.
        """
        self._require_free_ports()
        self.supervisor.start(self._prepared())
        self._link_commands()
        self.wait_healthy()

    def stop(self) -> None:
        """Stop everything; the data stays."""
        self.supervisor.stop()

    def health(self) -> dict[str, str]:
        """Return for each program `healthy`, or what is wrong with it."""
        with ThreadPoolExecutor(len(self._prepared())) as pool:
            states = pool.map(_state, self._prepared())
        return {
            program.name: state for program, state in zip(self._prepared(), states, strict=True)
        }

    def wait_healthy(self, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait until every program is healthy. Raises MeshError, with the last words of one."""
        deadline = time.monotonic() + seconds
        while unhealthy := [name for name, state in self.health().items() if state != "healthy"]:
            if time.monotonic() > deadline:
                raise MeshError(
                    f"{', '.join(unhealthy)} did not become healthy within {seconds:.0f} s. "
                    f"The last lines of {unhealthy[0]}:\n{self.last_lines(unhealthy[0])}"
                )
            time.sleep(CHECK_SECONDS)

    def last_lines(self, name: str, count: int = 10) -> str:
        """Return the end of a program's log."""
        path = self.supervisor.logs / f"{name}.log"
        if not path.exists():
            return "(no log)"
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])

    def _prepared(self) -> list[programs.Program]:
        if self._programs is None:
            self._programs = programs.prepare(self.settings, self._say, self._environment)
        return self._programs

    def _require_free_ports(self) -> None:
        for use, (port, variable) in self.settings.ports().items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError:
                    raise MeshError(
                        f"Port {port} ({use}) is taken{_holder(port)}. Stop what holds it, or "
                        f"choose another: {variable}={port + 10000} make up"
                    ) from None

    def _link_commands(self) -> None:
        """Put the commands that the README types into one folder for PATH."""
        folder = self.settings.state / "bin"
        folder.mkdir(exist_ok=True)
        commands = {
            "redis-cli": parts.redis_cli(),
            "influx": parts.go_program(parts.INFLUX, self._say),
        }
        for name, target in commands.items():
            link_command(folder, name, target)


def link_command(folder: Path, name: str, target: Path) -> None:
    """Make `name` in `folder` stand for `target`."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(folder / name)


def _state(program: programs.Program) -> str:
    try:
        program.probe()
    except Exception as error:
        return f"unhealthy ({type(error).__name__})"
    return "healthy"


def _free_ports(settings: LocalSettings) -> dict[str, int]:
    """Return a free port, or the first of a free row of them, for every port setting."""
    rows = {name: 1 for name in LocalSettings.model_fields if name.endswith("_port")}
    for room in ("ingest", "worker"):
        count = getattr(settings, f"{room}_processes")
        rows |= {f"{room}_grpc_port": count, f"{room}_metrics_port": count}
    found: dict[str, int] = {}
    taken: set[int] = set()
    for name, length in rows.items():
        while name not in found:
            row = range(start := random.choice(TEST_PORTS), start + length)  # noqa: S311
            if taken.isdisjoint(row) and all(_free(port) for port in row):
                found[name] = start
                taken.update(row)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Return who listens on `port`, as far as this user may know: ` by NAME (pid PID)`."""
    if sys.platform != "linux":
        return ""
    inodes = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        if (path := Path("/proc/net", table)).exists()
        for line in path.read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = {str(handle.readlink()) for handle in (process / "fd").iterdir()}
            if any(f"socket:[{inode}]" in held for inode in inodes):
                name = (process / "comm").read_text().strip()
                return f" by {name} (pid {process.name})"
        except OSError:
            continue
    return ""
