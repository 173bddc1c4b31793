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

from ingest_service.jobs import FULL_SHARE
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
FILLED = FULL_SHARE
"""Which part of the memory is planned to be used. Beyond it ingest takes nothing more."""
OUTAGE_SECONDS = 3600
"""How long InfluxDB may be away while Redis keeps everything."""
SHORT_SECONDS = 3600
"""A retention to compare the default with."""
DAY_SECONDS = 86_400
PAIRED_FROM = 50
"""From so many users on there are two of each process that can be doubled."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured of one way to submit: for 1,000 interactions, or for one.

    `rate` is how many a second there were, `cpu` processor seconds for 1,000.
    """

    rate: float
    cpu: Mapping[str, float]
    resident_mb: Mapping[str, float]
    pending: float
    done: float
    database: float
    job_interactions: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a number of users needs. `redis_busy` is cores, without headroom."""

    users: int
    rate: float
    shares: bool
    ingest: int
    workers: int
    gateway_threads: int
    cores: float
    memory_gb: float
    redis_gb: float
    redis_short_gb: float
    waiting_jobs: int
    influx_gb_a_day: float
    redis_busy: float


def costs(results: Mapping[str, Any], connections: int) -> Costs:
    """Return what POST /submit cost over so many connections.

    Raises KeyError when that was not measured.
    """
    found = results["cases"][f"rest-{connections}"]["stacks"]["sluice"]
    noun = "connection" if connections == 1 else "connections"
    stored = results["stored"][f"sluice, POST /submit, {connections} {noun}"]
    return Costs(
        found["throughput"]["median"],
        found["cpu"],
        found["resident_mb"],
        stored["pending"],
        # What Redis frees by itself meanwhile may hide it.
        max(stored["done"], 0.0),
        stored["database"],
        stored["interactions"] / stored["jobs"],
    )


def plan(alone: Costs, shared: Costs, users: int, per_user: float) -> Plan:
    """Return what `users` need who send `per_user` submissions a second each.

    Submissions are planned to share jobs only where that many come to each process that they do.
    """
    rate = users * per_user
    least = 2 if users >= PAIRED_FROM else 1

    def processes(found: Costs, program: str) -> int:
        return max(least, ceil(found.cpu[program] / 1000 * rate / BUSY))

    shares = rate / processes(shared, "ingest_service") >= shared.rate * BUSY
    found = shared if shares else alone
    ingest, workers = processes(found, "ingest_service"), processes(found, "worker")
    retention = IngestSettings.model_fields["status_retention_seconds"].default
    # Seconds of a core for each second.
    busy = {name: seconds / 1000 * rate for name, seconds in found.cpu.items()}
    copies = {"ingest_service": ingest, "worker": workers}
    resident = sum(
        megabytes * copies.get(name, 1)
        for name, megabytes in found.resident_mb.items()
        if name != "redis"
    )

    def redis_gb(kept_seconds: int) -> float:
        done = found.done * max(kept_seconds - OUTAGE_SECONDS, 0)
        return (found.pending * OUTAGE_SECONDS + done) * rate / 1e9 / FILLED

    return Plan(
        users=users,
        rate=rate,
        shares=shares,
        ingest=ingest,
        workers=workers,
        gateway_threads=max(1, ceil(busy["api_gateway"] / BUSY)),
        cores=sum(busy.values()) / BUSY,
        memory_gb=resident * 2**20 / 1e9 / FILLED,
        redis_gb=redis_gb(retention),
        redis_short_gb=redis_gb(SHORT_SECONDS),
        waiting_jobs=ceil(rate * OUTAGE_SECONDS / found.job_interactions),
        influx_gb_a_day=found.database * rate * DAY_SECONDS / 1e9,
        redis_busy=busy["redis"],
    )


def markdown(results: Mapping[str, Any], per_user: float) -> str:
    """Return the table and what it rests on. Raises KeyError when something was not measured."""
    machine = results["machine"]
    alone, shared = costs(results, 1), costs(results, 32)
    plans = [plan(alone, shared, users, per_user) for users in USERS]
    lines = [
        "| users | ingest | gateway threads | workers | cores | memory | Redis | Redis, statuses "
        f"kept {SHORT_SECONDS / 3600:g} h | jobs waiting | InfluxDB a day | first estimate |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for each in plans:
        lines.append(
            f"| {each.users:,} | {each.ingest} | {each.gateway_threads} | {each.workers} | "
            f"{_short(each.cores)} | {_short(each.memory_gb)} GB | {_short(each.redis_gb)} GB | "
            f"{_short(each.redis_short_gb)} GB | {_round(each.waiting_jobs)} | "
            f"{_short(each.influx_gb_a_day)} GB | {_estimate(each.users)} |"
        )
    most_jobs = IngestSettings.model_fields["max_queued_jobs"].default
    sharing = [f"{each.users:,}" for each in plans if each.shares]
    notes = [
        f"**Measured**, on {machine['cores']} cores of {machine['processor']} with the load "
        "generator on the same: processor time and memory of each program under POST /submit of "
        "20 B, and the bytes of an interaction in Redis and InfluxDB. Over one connection every "
        f"submission is a job of its own and 1,000 cost {sum(alone.cpu.values()):.2f} s; over 32, "
        f"{shared.job_interactions:.0f} share a job and 1,000 cost "
        f"{sum(shared.cpu.values()):.2f} s.",
        f"**Calculated**: a user sends {per_user:g} a second. A process uses {BUSY:.0%} of a core, "
        f"so twice as much finds room; memory and Redis are filled to {FILLED:.0%}, beyond which "
        f"submissions get a 429. Redis keeps {OUTAGE_SECONDS / 3600:g} h of backlog, for when "
        "InfluxDB is away, and every job's state for a day, or for as long as "
        "`SLUICE_STATUS_RETENTION_SECONDS` says. No sharing is assumed"
        + (f" below {sharing[0]} users" if sharing else "")
        + f". From {PAIRED_FROM} users on there are two ingest processes and two workers in any "
        "case, so that one may fail. More processes are assumed to do proportionally more, on "
        "cores that are there.",
        "`Redis` is `SLUICE_REDIS_MEMORY`, `jobs waiting` is what that hour takes of "
        f"`SLUICE_MAX_QUEUED_JOBS` ({most_jobs:,}): raise both to get through it. InfluxDB is what "
        "lies on its disk shortly after, before it compresses it further. Longer submissions take "
        "their length more of all stores, and each request id a record of its own.",
    ]
    if tight := [each for each in plans if each.redis_busy > BUSY]:
        notes.append(
            "Redis does its work on one core and cannot be doubled: it needs "
            + ", ".join(f"{each.redis_busy:.0%} of that at {each.users:,} users" for each in tight)
            + f", above the {BUSY:.0%} planned."
        )
    return "\n\n".join(["\n".join(lines), *notes]) + "\n"


def _short(value: float) -> str:
    """Return a size with as many digits as it is good for, rounded up: it is to be enough."""
    digits = 0 if value >= 10 else 1
    return f"{ceil(value * 10**digits) / 10**digits:,.{digits}f}"


def _round(count: int) -> str:
    """Return a count with two digits that mean something, rounded up."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return f"{ceil(count / unit) * unit:,}"


def _estimate(users: int) -> str:
    if users not in FIRST_ESTIMATE:
        return "–"
    web, workers, memory = FIRST_ESTIMATE[users]
    return f"{web} web, {workers} workers, {memory}"


def main() -> None:
    """Print the table. Exits with one sentence when nothing was measured yet."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capacity", description=__doc__)
    parser.add_argument("--rate", type=float, default=1.0, help="submissions a second by each user")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what was measured")
    options = parser.parse_args()
    try:
        results = json.loads(options.results.read_text())
        print(markdown(results, options.rate))
    except (FileNotFoundError, KeyError):
        sys.exit(f"There are no complete results in {options.results}: run make bench first.")


if __name__ == "__main__":
    main()
