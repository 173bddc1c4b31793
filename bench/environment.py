"""What the bench needs beside the mesh: the reference's packages and two compiled load programs.

All of it lies in the user cache, made once; nothing of it is in the mesh's own environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.bootstrap import CACHE, tools_environment
from deploy.local.parts import BINARIES, GoProgram, PartMissing, go_program

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"
LOADER = HERE / "loader"

BOMBARDIER = GoProgram(
    "bombardier",
    "github.com/codesenberg/bombardier",
    "v1.2.6",
    ("--version",),
    r"bombardier",
    "half a minute",
)
"""HTTP load: fasthttp's client, a few microseconds a request."""


def reference_python() -> Path:
    """Return the Python of the reference's environment, made first when it is not there.

    Raises PartMissing.
    """
    requirements = REFERENCE / "requirements.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = CACHE / f"bench-python{version}-{_digest([requirements])}"
    stamp = environment / "installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "bench.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            print("Installing the reference stack, once ...", flush=True)
            shutil.rmtree(environment, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            flags = ["--disable-pip-version-check", "--require-hashes", "-r", str(requirements)]
            if subprocess.run([*pip, *flags]).returncode:
                raise PartMissing("The reference stack could not be installed: see above.")
            stamp.touch()
    return environment / "bin" / "python"


def http_loader() -> Path:
    """Return bombardier, built first when it is not there. Raises PartMissing."""
    return go_program(BOMBARDIER, print)


def grpc_loader() -> Path:
    """Return our gRPC load program, built first when it is not there. Raises PartMissing."""
    sources = sorted([*LOADER.glob("*.go"), *LOADER.glob("go.*")])
    kept = BINARIES / f"grpc-loader-{_digest(sources)}"
    if kept.exists():
        return kept
    print("Building the gRPC load program, once ...", flush=True)
    BINARIES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BINARIES) as scratch:
        built = Path(scratch, "loader")
        environment = os.environ | {
            "CGO_ENABLED": "0",
            "GOPATH": f"{scratch}/path",
            "GOCACHE": f"{scratch}/cache",
            "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
            "GOTOOLCHAIN": "local",
        }
        done = subprocess.run(
            [_go(), "build", "-C", LOADER, "-o", built, "."],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["go build failed"]
            raise PartMissing(
                f"The gRPC load program could not be built ({last[0]}). Put Go 1.26 or later on "
                "PATH, or give Go its module proxy (GOPROXY)."
            )
        built.replace(kept)
    return kept


def _go() -> str:
    found = shutil.which("go")
    if found:
        return found
    for packaged in tools_environment().glob("lib/python*/site-packages/go/bin/go"):
        return str(packaged)
    raise PartMissing("Go is missing from the tools: run make again")


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for each in files:
        digest.update(each.read_bytes())
    return digest.hexdigest()[:16]
