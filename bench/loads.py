"""Load from compiled programs, and what they saw."""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.environment import grpc_loader, http_loader

TIMEOUT_SECONDS = 30


class LoadFailed(Exception):
    """No call succeeded."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a load program saw: answers that were as expected, and how long each took.

    `failed` counts the others, which say nothing of what became of the call.
    """

    calls: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    loader_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """One HTTP request over and over. `expected` is the class of the answers, 2 for 2xx.

    `rate` is how many are made a second unless run() is told otherwise, 0 for as many as can be.
    """

    path: str
    connections: int
    body: bytes | None = None
    expected: int = 2
    items: int = 1
    rate: float = 0.0

    def run(self, address: str, seconds: float, rate: float = 0.0) -> Seen:
        """Make the requests, `rate` a second or else as the load says. Raises LoadFailed."""
        rate = rate or self.rate
        command = [
            *(http_loader(), f"http://{address}{self.path}"),
            *("--connections", str(self.connections)),
            *("--duration", f"{seconds * 1000:.0f}ms"),
            *("--timeout", f"{TIMEOUT_SECONDS}s"),
            *("--latencies", "--print", "result", "--format", "json"),
        ]
        if rate:
            command += ["--rate", str(max(1, round(rate)))]
        with tempfile.TemporaryDirectory() as scratch:
            if self.body is not None:
                body = Path(scratch, "body")
                body.write_bytes(self.body)
                command += ["--method", "POST", "--body-file", str(body)]
                command += ["--header", "Content-Type: application/json"]
            printed, cpu = _run(command)
        result = printed["result"]
        counts = {kind: result[f"req{kind}xx"] for kind in (1, 2, 3, 4, 5)}
        calls = counts.pop(self.expected)
        failed = sum(counts.values()) + result["others"]
        if not calls:
            raise LoadFailed(f"{self.path}: {failed} answers, none of them as expected")
        percentiles = result["latency"]["percentiles"]
        return Seen(
            calls,
            failed,
            result["timeTakenSeconds"],
            percentiles["50"] / 1000,
            percentiles["99"] / 1000,
            cpu,
        )


@dataclass(frozen=True, slots=True)
class GrpcLoad:
    """One gRPC call over and over; `stream` sends the message again and again on a few streams.

    `limit` is how many calls are made at most, 0 for as many as the time allows. `id_field` is the
    number of a text field that gets another value in each message, 0 for none.
    """

    method: str
    payload: bytes
    callers: int
    connections: int = 1
    stream: bool = False
    items: int = 1
    limit: int = 0
    id_field: int = 0
    service: str = "sluice.ingest.v1.IngestService"

    def run(self, address: str, seconds: float, rate: float = 0.0) -> Seen:
        """Make the calls, `rate` a second or as many as can be. Raises LoadFailed."""
        with tempfile.TemporaryDirectory() as scratch:
            payload = Path(scratch, "payload")
            payload.write_bytes(self.payload)
            printed, cpu = _run(
                [
                    grpc_loader(),
                    *("-target", address),
                    *("-method", f"/{self.service}/{self.method}"),
                    *("-payload", str(payload)),
                    *("-callers", str(self.callers)),
                    *("-connections", str(self.connections)),
                    *("-seconds", str(seconds)),
                    *("-rate", str(rate)),
                    *("-limit", str(self.limit)),
                    *("-id-field", str(self.id_field)),
                    *(["-stream"] if self.stream else []),
                ]
            )
        failed = sum(printed["errors"].values())
        if not printed["calls"] or failed > printed["calls"] / 1000:
            raise LoadFailed(f"{self.method}: {failed} calls failed: {list(printed['errors'])[:3]}")
        return Seen(
            printed["calls"],
            failed,
            printed["seconds"],
            printed["p50_ms"],
            printed["p99_ms"],
            cpu,
        )


Load = HttpLoad | GrpcLoad


def _run(command: list[Any]) -> tuple[Any, float]:
    """Run a load program; return what it printed and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise LoadFailed(
            f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-500:]}"
        )
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return json.loads(done.stdout), cpu
