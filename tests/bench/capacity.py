"""Turns measured figures into a table of what to provide: `python -m tests.bench.capacity`.

Reads `results/latest.json`. Measured are processor time and memory of each program and the bytes
of an interaction; processes and sizes are calculated from them by the assumptions that are printed
with the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from ingest_service.settings import IngestSettings

RESULTS = Path(__file__).parent / "results" / "latest.json"
USERS = (10, 50, 100, 1000, 10_000)
FIRST_ESTIMATE = {
    10: ("1", "2", "1 GB"),
    50: ("2–3", "3–5", "2–3 GB"),
    100: ("5+", "6–8", "4–6 GB"),
}
"""Web instances, workers and memory, as they were estimated before anything was built."""
BUSY = 0.5
"""Which part of a core a process is planned to use: the rest is headroom for peaks."""
OUTAGE_SECONDS = 3600
"""How long InfluxDB may be away while Redis keeps everything."""
DAY_SECONDS = 86_400
CASE = "rest-32"
ALONE = "sluice, POST /submit, 1 connection"
SHARED = "sluice, POST /submit, 32 connections"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a number of users needs."""

    users: int
    rate: float
    ingest: int
    workers: int
    gateway_cores: float
    cores: float
    memory_gb: float
    redis_gb: float
    redis_alone_gb: float
    influx_gb_a_day: float


def plan(results: Mapping[str, Any], users: int, per_user: float) -> Plan:
    """Return what `users` need who send `per_user` submissions a second each.

    Raises KeyError when the results lack the cases this rests on.
    """
    rate = users * per_user
    found = results["cases"][CASE]["stacks"]["sluice"]
    # Seconds of a core for each second.
    busy = {name: seconds / 1000 * rate for name, seconds in found["cpu"].items()}
    resident = found["resident_mb"]
    ingest = max(1, ceil(busy["ingest_service"] / BUSY))
    workers = max(1, ceil(busy["worker"] / BUSY))
    retention = IngestSettings.model_fields["status_retention_seconds"].default
    shared, alone = results["stored"][SHARED], results["stored"][ALONE]
    redis_gb, redis_alone_gb = (
        (each["pending"] * OUTAGE_SECONDS + each["done"] * retention) * rate / 1e9
        for each in (shared, alone)
    )
    others = ("api_gateway", "alert_service", "influxdb")
    memory = (
        resident["ingest_service"] * ingest
        + resident["worker"] * workers
        + sum(resident[name] for name in others)
    ) / 1000
    return Plan(
        users,
        rate,
        ingest,
        workers,
        busy["api_gateway"] / BUSY,
        sum(busy.values()) / BUSY,
        memory,
        redis_gb,
        redis_alone_gb,
        shared["database"] * rate * DAY_SECONDS / 1e9,
    )


def markdown(results: Mapping[str, Any], per_user: float) -> str:
    """Return the table and what it rests on."""
    machine = results["machine"]
    lines = [
        "| users | submissions/s | ingest processes | workers | gateway cores | cores in all | "
        "memory of the processes | Redis | Redis, nothing shared | InfluxDB a day | "
        "first estimate: web, workers, memory |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for users in USERS:
        one = plan(results, users, per_user)
        estimate = ", ".join(FIRST_ESTIMATE.get(users, ("none",)))
        lines.append(
            f"| {users:,} | {one.rate:,.0f} | {one.ingest} | {one.workers} | "
            f"{one.gateway_cores:.2f} | {one.cores:.2f} | {one.memory_gb:.1f} GB | "
            f"{one.redis_gb:,.2f} GB | {one.redis_alone_gb:,.2f} GB | "
            f"{one.influx_gb_a_day:,.2f} GB | {estimate} |"
        )
    return "\n".join(
        [
            f"Measured, on {machine['cores']} cores of {machine['processor']}: processor time and "
            "memory of each program under POST /submit of 20 B over 32 connections, bytes in "
            "Redis and InfluxDB for each of these interactions.",
            "",
            f"Calculated from it: each user sends {per_user:g} submissions a second; a process "
            f"uses {BUSY:.0%} of a core, so a peak of {1 / BUSY:g} times that finds room; Redis "
            f"holds {OUTAGE_SECONDS / 3600:g} h of backlog, for when InfluxDB is away, and the "
            "states of all jobs for as long as they are kept; a job carries as many interactions "
            "as it did at 32 connections, or, where nothing is shared, one. One process of each "
            "kind does the work of the first rows; run two for availability.",
            "",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Print the table. Exits with one sentence when nothing was measured yet."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capacity", description=__doc__)
    parser.add_argument("--rate", type=float, default=1.0, help="submissions a second by each user")
    options = parser.parse_args()
    try:
        results = json.loads(RESULTS.read_text())
        print(markdown(results, options.rate))
    except (FileNotFoundError, KeyError):
        sys.exit(f"There are no complete results in {RESULTS}: run make bench first.")


if __name__ == "__main__":
    main()
