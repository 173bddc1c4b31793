"""Compares versions of grpcio, and of Python: `python -m bench.grpcio_versions 1.74.0 1.85.3`.

A candidate is a version of grpcio, or VERSION@PYTHON with the path of an interpreter. Each gets an
environment of its own from the package index, thrown away at the end: the pinned packages, and
grpcio of its version. The no-op and the real ingest service of each, called past the gateway, get
the same load in alternated rounds. Prints a table; only figures of one run can be compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from bench import environment
from bench.cases import Case
from bench.loads import GrpcLoad
from bench.payloads import as_submission
from bench.rounds import measure_cases
from bench.stacks import LOOK_SECONDS, START_SECONDS, Stack
from deploy.local import probes, programs
from deploy.local.bootstrap import REQUIREMENTS, ROOT
from deploy.local.mesh import LocalMesh
from deploy.local.programs import Program
from deploy.local.settings import HOST
from deploy.local.supervision import Supervisor

SERVICES = ("noop", "ingest_service")
CALLERS = 32
CONNECTIONS = 4
WARM_UP_SECONDS = 3.0


class Service(Stack):
    """One service under one interpreter: the no-op alone, or ingest with a Redis of its own."""

    def __init__(self, service: str, python: Path, state: Path) -> None:
        self.name = service
        self._settings = LocalMesh.on_free_ports(state).settings
        self._python = str(python)
        self.supervisor = Supervisor(state, attached=True)
        self.address = f"{HOST}:{self._settings.ingest_grpc_port}"

    def start(self) -> None:
        """Start what the service needs, and wait until it serves. Raises RuntimeError."""
        chosen = self._noop() if self.name == "noop" else self._ingest()
        self._settings.state.joinpath("config").mkdir(parents=True, mode=0o700)
        for program in chosen:
            for folder in program.folders:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path, text in program.files.items():
                path.write_text(text)
        self.supervisor.start(chosen)
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._python}: {self.name} does not serve")
            time.sleep(LOOK_SECONDS)

    def _serves(self) -> bool:
        try:
            return probes.is_serving(self._settings.ingest_grpc_port)
        except grpc.RpcError:
            return False

    def _noop(self) -> list[Program]:
        return [
            Program(
                "noop",
                10,
                [self._python, "-m", "bench.noop", self.address],
                partial(probes.check_grpc, self._settings.ingest_grpc_port),
                {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}"},
            )
        ]

    def _ingest(self) -> list[Program]:
        # Neither worker nor alert service: nothing is refused, and what is accepted waits.
        known = {each.name: each for each in programs.all_programs(self._settings, print)}
        ingest = known["ingest_service"]
        return [known["redis"], replace(ingest, command=[self._python, *ingest.command[1:]])]


def install(candidate: str, folder: Path) -> Path:
    """Make the environment of a candidate in `folder` and return its Python. Exits when it cannot.

    The pins are installed with their hashes, and then grpcio of the version asked for, which has
    none.
    """
    version, _, python = candidate.partition("@")
    print(f"Installing {candidate} ...", flush=True)
    own = folder / "bin" / "python"
    pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands: list[list[str | Path]] = [
        [python or sys.executable, "-m", "venv", folder],
        [*pip, "--require-hashes", "-r", REQUIREMENTS / "runtime.txt"],
        [*pip, "--no-deps", "--only-binary", ":all:", f"grpcio=={version}"],
    ]
    for command in commands:
        if subprocess.run(command).returncode:
            sys.exit(f"{candidate} could not be installed: see above.")
    return own


def table(cases: Mapping[str, Any]) -> str:
    """Return measured services as Markdown, each candidate held against the first one. Pure.

    A candidate of which no call succeeded is left out.
    """
    lines = [
        "| service | candidate | processor time per call | to the first | calls a second | p99 |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for service, case in cases.items():
        first = None
        for candidate, seen in case["stacks"].items():
            # Seconds for 1,000 calls are milliseconds for one.
            cpu = seen["cpu"][service] * 1000
            first = first or cpu
            lines.append(
                f"| {service} | {candidate} | {cpu:.0f} µs | {cpu / first:.2f} "
                f"| {seen['throughput']['median']:,.0f} | {seen['p99_ms']['median']:.1f} ms |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure the candidates that were named."""
    parser = argparse.ArgumentParser(prog="python -m bench.grpcio_versions", description=__doc__)
    parser.add_argument("candidates", nargs="+", metavar="VERSION[@PYTHON]")
    parser.add_argument("--rounds", type=int, default=7, help="alternated rounds (7)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (3)")
    options = parser.parse_args()
    environment.grpc_loader()
    load = GrpcLoad("Submit", as_submission("20 B").SerializeToString(), CALLERS, CONNECTIONS)
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="sluice-grpcio-") as scratch:
        pythons = {
            candidate: install(candidate, Path(scratch, f"environment-{number}"))
            for number, candidate in enumerate(options.candidates)
        }
        for service in SERVICES:
            stacks = {
                candidate: Service(service, python, Path(scratch, f"{service}-{number}"))
                for number, (candidate, python) in enumerate(pythons.items())
            }
            case = Case(service, f"Submit, 20 B, {CALLERS} callers", dict.fromkeys(stacks, load))
            try:
                for stack in stacks.values():
                    stack.start()
                    load.run(stack.address, WARM_UP_SECONDS)
                told |= measure_cases([case], stacks, options.rounds, options.seconds)
            finally:
                for stack in stacks.values():
                    stack.stop()
    print(table(told))


if __name__ == "__main__":
    main()
