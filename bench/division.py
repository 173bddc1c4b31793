"""Measures what it costs to divide jobs among partitions and primaries, and to have them confirmed.

Each division is a fresh mesh with empty stores. The load is a fixed rate, so that what a program
costs is of the same work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.growth import warm_mesh
from bench.loads import GrpcLoad, HttpLoad, Load
from bench.payloads import as_batch, as_json, as_submission
from bench.stacks import Sluice
from bench.usage import usage_of
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

DRAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Division:
    """Among how many partitions and primaries jobs are divided, and how many replicas confirm."""

    primaries: int
    partitions: int
    confirming: int = 0


DIVISIONS = (
    Division(1, 1),
    Division(1, 4),
    Division(1, 16),
    Division(1, 64),
    Division(3, 16),
    Division(3, 16, 1),
    Division(5, 16),
)

_REQUEST_ID = SubmitRequest.DESCRIPTOR.fields_by_name["request_id"].number
LOADS: Mapping[str, tuple[Load, float]] = {
    "POST /submit, 400 a second": (HttpLoad("/submit", 32, as_json("20 B")), 400),
    "Submit with request ids, 400 a second": (
        GrpcLoad("Submit", as_submission("20 B").SerializeToString(), 32, 4, id_field=_REQUEST_ID),
        400,
    ),
    "SubmitBatch of 100, 200 a second": (
        GrpcLoad("SubmitBatch", as_batch("20 B", 100), 8, 4, items=100),
        200,
    ),
}
"""Each with its calls a second, which all of them reach on two cores."""


def divide(
    state: Path, settings: Mapping[str, Any], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Return what each load cost with each division: processor seconds for 1,000 interactions."""
    found = []
    for number, division in enumerate(DIVISIONS):
        own = {
            **settings,
            "redis_primaries": division.primaries,
            "redis_partitions": division.partitions,
            "redis_confirming_replicas": division.confirming,
        }
        with warm_mesh(state / f"division-{number}", own) as stack:
            for title, (load, rate) in LOADS.items():
                measured = [_measure(stack, load, seconds, rate) for _ in range(rounds)]
                told = {key: median(each[key] for each in measured) for key in measured[0]}
                print(f"{division} {title}: {told}", flush=True)
                found.append(
                    {
                        "primaries": division.primaries,
                        "partitions": division.partitions,
                        "confirming": division.confirming,
                        "load": title,
                        **told,
                    }
                )
    return found


def _measure(stack: Sluice, load: Load, seconds: float, rate: float) -> dict[str, float]:
    before = _usage(stack)
    accepted_before = stack.accepted()
    seen = load.run(stack.address, seconds, rate)
    stack.drain(DRAIN_SECONDS)
    accepted = stack.accepted() - accepted_before
    spent = {
        name: (cpu - before.get(name, 0.0)) / accepted * 1000 for name, cpu in _usage(stack).items()
    }
    nodes = [cpu for name, cpu in spent.items() if _is_redis(name)]
    return {
        "rate": accepted / seen.seconds,
        "p50_ms": seen.p50_ms,
        "p99_ms": seen.p99_ms,
        "busiest_redis": max(nodes),
        "all_redis": sum(nodes),
        "ingest": spent["ingest_service"],
        "worker": spent["worker"],
    }


def _is_redis(name: str) -> bool:
    return name.split("_")[0] == "redis" and name != "redis_cluster"


def _usage(stack: Sluice) -> Mapping[str, float]:
    """Return the processor seconds of each program, each Redis by itself."""
    return usage_of({name.replace("-", "_"): pid for name, pid in stack.pids().items()}).cpu_seconds
