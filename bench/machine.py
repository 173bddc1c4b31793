"""Names what was measured on: the machine and the versions of everything that matters."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench import environment
from deploy.local import parts

OURS = ("grpcio", "protobuf", "uvloop", "redis", "dramatiq", "influxdb-client", "google-re2")
THEIRS = ("fastapi", "uvicorn", "celery", "redis", "influxdb-client")


def describe() -> dict[str, object]:
    """Return the machine and the versions."""
    pinned = dict(
        re.findall(
            r"^([a-z0-9-]+)==([^ ]+)",
            (environment.REFERENCE / "requirements.txt").read_text(),
            re.MULTILINE,
        )
    )
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "sluice": {name: version(name) for name in OURS},
        "reference": {name: pinned[name] for name in THEIRS},
        # Redis or Valkey, which names itself.
        "redis": _first(r"(\w+ server v=[\d.]+)", [str(parts.redis_server()), "--version"]).replace(
            " server v=", " "
        ),
        "influxdb": parts.INFLUXD.version,
        "envoy": _first(r"/(\d+\.\d+\.\d+)/", [str(parts.envoy()), "--version"]),
    }


def _processor() -> str:
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return str(models[0]) if models else platform.processor()


def _first(pattern: str, command: list[str]) -> str:
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(pattern, printed)
    return found[1] if found else "unknown"
