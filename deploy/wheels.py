"""Checks that no pinned package has to be compiled: `python -m deploy.wheels`.

Every pinned package must have a wheel for every Python and processor that the README names. uv asks
the package index as if it ran on such a machine; nothing is downloaded.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.bootstrap import REQUIREMENTS
from deploy.local.parts import tool

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROCESSORS = ("x86_64", "aarch64")
# The C library that Envoy's wheel needs; Debian 11 and Ubuntu 20.04 have it.
LINUX = "manylinux_2_31"
PINNED = ("runtime.txt", "dev.txt", "tools.txt")
LONGEST_SECONDS = 60

NO_NETWORK = ("Failed to fetch", "Request failed")
"""What uv prints when no package index answers."""


class IndexUnavailable(Exception):
    """No package index answers."""


def missing_wheel(pinned: Path, python: str, processor: str) -> str:
    """Return what uv prints about a package in `pinned` without a wheel, empty when all have one.

    Raises IndexUnavailable.
    """
    command: list[str | Path] = [
        *(tool("uv"), "pip", "install", "--dry-run", "--quiet", "--no-config", "--system-certs"),
        *("--no-deps", "--only-binary", ":all:", "--requirements", pinned),
        *("--python", sys.executable, "--python-version", python),
        *("--python-platform", f"{processor}-{LINUX}"),
    ]
    # The index that pip uses.
    index = os.environ.get("PIP_INDEX_URL")
    environment = {"UV_HTTP_TIMEOUT": "15", **({"UV_DEFAULT_INDEX": index} if index else {})}
    try:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(
                [*command, "--target", empty],
                env=environment | os.environ,
                capture_output=True,
                text=True,
                timeout=LONGEST_SECONDS,
            )
    except subprocess.TimeoutExpired:
        raise IndexUnavailable from None
    if any(sign in done.stderr for sign in NO_NETWORK):
        raise IndexUnavailable
    return done.stderr.strip() if done.returncode else ""


def main() -> None:
    """Check every file for every machine. Exits 1 and names what has no wheel where."""
    missing = 0
    for python, processor, name in itertools.product(PYTHONS, PROCESSORS, PINNED):
        try:
            said = missing_wheel(REQUIREMENTS / name, python, processor)
        except IndexUnavailable:
            sys.exit(
                "No network: whether every package has its wheels is known to the package index "
                "alone. Connect, or name yours (UV_DEFAULT_INDEX), and run the same command again."
            )
        if said:
            missing += 1
            print(f"{name} cannot be installed by Python {python} on {processor}:\n{said}\n")
    if missing:
        sys.exit("Pin versions that have wheels, or one for each Python: requirements/*.in.")
    print(f"Every package has a wheel for Python {', '.join(PYTHONS)} on {', '.join(PROCESSORS)}.")


if __name__ == "__main__":
    main()
