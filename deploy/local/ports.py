"""Finds free ports, and who uses those that are taken."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.local.settings import HOST

TEST_PORTS = range(20_000, 32_000)
"""Below the range from which systems choose ports themselves."""
HIGHEST_PORT = 65_535


def conflict(ports: Mapping[str, tuple[int, str]]) -> str | None:
    """Return a line about the first port that cannot be used, None when all can be.

    `ports` gives for each use the port and the variable that changes it.
    """
    uses: dict[int, str] = {}
    for use, (port, variable) in ports.items():
        if port in uses:
            return f"Port {port} would serve both {uses[port]} and {use}: change {variable}."
        uses[port] = use
        if port > HIGHEST_PORT:
            return f"Port {port} ({use}) does not exist: lower {variable}."
        if not _free(port):
            other = port + 10_000 if port + 10_000 < HIGHEST_PORT else port - 10_000
            return (
                f"Port {port} ({use}) is taken{_holder(port)}. Stop what holds it, or choose "
                f"another port: {variable}={other} make up"
            )
    return None


def free_ranges(lengths: Mapping[str, int]) -> dict[str, int]:
    """Return for each name a free port with `lengths[name] - 1` free ones after it."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    for name, length in lengths.items():
        while name not in found:
            start = random.choice(TEST_PORTS)  # noqa: S311
            ports = range(start, start + length)
            if taken.isdisjoint(ports) and all(map(_free, ports)):
                found[name] = start
                taken.update(ports)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # Closed connections that linger do not keep a server from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Return who listens on `port`, as far as this user may see: ` by NAME (pid PID)`."""
    listening = "0A"
    sockets = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        if not sockets.isdisjoint(_handles(process)):
            return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _handles(process: Path) -> set[str]:
    """Return what a process has open, as far as this user may see."""
    held = set()
    # Processes and their handles may disappear meanwhile.
    with suppress(OSError):
        for handle in (process / "fd").iterdir():
            with suppress(OSError):
                held.add(str(handle.readlink()))
    return held
