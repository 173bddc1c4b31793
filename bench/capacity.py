"""Turns measured figures into a table of what to provide: `python -m bench.capacity`.

Reads `results/latest.json`. Measured are processor time and memory of each program and the bytes
of an interaction, at steady rates and as fast as can be; processes and sizes are calculated from
them by the assumptions that are printed with the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from bench.cases import RATES, SATURATED
from ingest_service.settings import IngestSettings
from job_store.admission import FULL_SHARE
from job_store.request_ids import WINDOWS

RESULTS = Path(__file__).parent / "results" / "latest.json"
USERS = (10, 50, 100, 1000, 10_000, 100_000, 1_000_000)
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
REQUEST_ID_BYTES = 70
"""What a request id takes of Redis; tests/integration/test_job_store.py measures and bounds it."""
OUTAGE_SECONDS = 3600
"""How long InfluxDB may be away while Redis keeps everything."""
DAY_SECONDS = 86_400
MEASURED = (*(f"steady-{rate}" for rate in RATES), f"rest-{SATURATED}")
"""The cases that plans are made from."""
SMALLEST_CLUSTER = 3
"""Primaries: fewer have no majority that could replace a lost one."""
INFLUXDB_CORES = 8
"""Which one InfluxDB is planned to use at most. Beyond it there are several, each for some of the
meshes' sources or of the workers, or a clustered service."""
PAIRED_FROM = 50
"""From so many users on there are two of each process that can be doubled."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured at one rate, of a mesh with one of each process.

    `rate` is interactions a second, `cpu` processor seconds for 1,000; bytes are those of one.
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
    """What a number of users needs.

    `request_ids_gb` is what Redis needs besides when every submission has a request id of its own,
    `waiting_jobs` is what an outage leaves. `primaries` are those of Redis: 1, or a cluster.
    """

    users: int
    ingest: int
    workers: int
    gateway_threads: int
    cores: float
    memory_gb: float
    redis_gb: float
    request_ids_gb: float
    waiting_jobs: int
    influx_gb_a_day: float
    primaries: int
    influxdb_cores: float


def costs(results: Mapping[str, Any]) -> list[Costs]:
    """Return what a submission cost at each rate, from the lowest.

    Raises KeyError when one was not measured.
    """
    found = []
    for name in MEASURED:
        case = results["cases"][name]
        stored = results["stored"][f"sluice, {case['title']}"]
        figures = case["stacks"]["sluice"]
        found.append(
            Costs(
                figures["throughput"]["median"],
                figures["cpu"],
                figures["resident_mb"],
                stored["pending"],
                stored["done"],
                stored["database"],
                stored["interactions"] / stored["jobs"],
            )
        )
    return sorted(found, key=lambda each: each.rate)


def plan(measured: Sequence[Costs], users: int, per_user: float) -> Plan:
    """Return what `users` need who send `per_user` submissions a second each.

    `measured` begins with the lowest rate.
    """
    rate = users * per_user
    least = 2 if users >= PAIRED_FROM else 1

    def processes(found: Costs, program: str) -> int:
        return max(least, ceil(found.cpu[program] / 1000 * rate / BUSY))

    # Sharing jobs makes the next submission cheaper, so none is counted on that was not measured.
    reached = [each for each in measured if rate / processes(each, "ingest_service") >= each.rate]
    found = reached[-1] if reached else measured[0]
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
    kept = found.pending * OUTAGE_SECONDS + found.done * max(retention - OUTAGE_SECONDS, 0)
    # The ids of a window expire together, so the oldest are a window older than they have to be.
    remembered = IngestSettings.model_fields["request_retention_seconds"].default
    remembered *= 1 + 1 / WINDOWS
    return Plan(
        users=users,
        ingest=ingest,
        workers=workers,
        gateway_threads=max(1, ceil(busy["api_gateway"] / BUSY)),
        cores=sum(busy.values()) / BUSY,
        memory_gb=resident * 2**20 / 1e9 / FILLED,
        redis_gb=kept * rate / 1e9 / FILLED,
        request_ids_gb=REQUEST_ID_BYTES * remembered * rate / 1e9 / FILLED,
        waiting_jobs=ceil(rate * OUTAGE_SECONDS / found.job_interactions),
        influx_gb_a_day=found.database * rate * DAY_SECONDS / 1e9,
        primaries=_primaries(busy["redis"]),
        influxdb_cores=busy["influxdb"] / BUSY,
    )


def _primaries(busy: float) -> int:
    """Return how many Redis share this work, each planned to be half idle as other processes."""
    needed = ceil(busy / BUSY)
    return needed if needed <= 1 else max(SMALLEST_CLUSTER, needed)


def markdown(results: Mapping[str, Any], per_user: float) -> str:
    """Return the table and what it rests on. Raises KeyError when something was not measured."""
    machine = results["machine"]
    measured = costs(results)
    plans = [plan(measured, users, per_user) for users in USERS]
    lines = [
        "| users | ingest | workers | gateway threads | cores | memory | Redis primaries | Redis | "
        "request ids | InfluxDB cores | InfluxDB a day | first estimate |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {each.users:,} | {each.ingest} | {each.workers} | {each.gateway_threads} | "
        f"{_short(each.cores)} | {_short(each.memory_gb)} GB | {each.primaries:,} | "
        f"{_short(each.redis_gb)} GB | + {_short(each.request_ids_gb)} GB | "
        f"{_short(each.influxdb_cores)} | {_short(each.influx_gb_a_day)} GB | "
        f"{_estimate(each.users)} |"
        for each in plans
    ]
    hours = f"{OUTAGE_SECONDS / 3600:g} h"
    notes = [
        f"**Measured**, on {machine['cores']} cores of {machine['processor']} with the load "
        "generator on the same: processor time and memory of each program under POST /submit of "
        "20 B, and the bytes of an interaction in Redis and InfluxDB. What comes together shares a "
        "job, so 1,000 cost "
        + ", ".join(f"{sum(each.cpu.values()):.2f} s at {each.rate:,.0f}/s" for each in measured)
        + "; what idle programs do is in it.",
        f"**Calculated**: a user sends {per_user:g} a second. A row takes its costs from the "
        "highest of these rates that each of its ingest processes gets, or the lowest there is. A "
        f"process uses {BUSY:.0%} of a core, so twice as much finds room; memory and Redis are "
        f"filled to {FILLED:.0%}, beyond which submissions get a 429. From {PAIRED_FROM} users on "
        "there are two ingest processes and two workers in any case, so that one may fail. More "
        "processes are assumed to do proportionally more, on cores that are there.",
        f"`Redis` is `SLUICE_REDIS_MEMORY`: {hours} of backlog, for when InfluxDB is away, and "
        "every job's state for a day, or for as long as `SLUICE_STATUS_RETENTION_SECONDS` says. "
        "InfluxDB is what lies on its disk shortly after, before it compacts it. Longer "
        "submissions take their length more of both. `request ids` is what Redis needs besides "
        f"when every submission has one of its own: {REQUEST_ID_BYTES} bytes for "
        "`SLUICE_REQUEST_RETENTION_SECONDS`, a day, and up to a quarter longer. A batch needs one "
        "for all its submissions.",
    ]
    most_jobs = IngestSettings.model_fields["max_queued_jobs"].default
    if many := [each for each in plans if each.waiting_jobs > most_jobs]:
        notes.append(
            f"An outage of {hours} leaves "
            + ", ".join(
                f"{_round(each.waiting_jobs)} jobs at {each.users:,} users" for each in many
            )
            + f": raise `SLUICE_MAX_QUEUED_JOBS` ({most_jobs:,}) to get through it."
        )
    if divided := [each for each in plans if each.primaries > 1]:
        notes.append(
            f"A Redis does its work on one core. From {divided[0].users:,} users on it is a "
            "cluster; the replica of each primary is not in the table, memory is that of all "
            "primaries together. Dividing costs some more of everything: see growth.md, "
            '"As Redis is divided".'
        )
    if beyond := [each for each in plans if each.influxdb_cores > INFLUXDB_CORES]:
        notes.append(
            f"From {beyond[0].users:,} users on one InfluxDB needs more than {INFLUXDB_CORES} "
            "cores, and a disk to match. Run several meshes, each with an InfluxDB of its own, or "
            "a clustered service; or send batches, of which a row costs a tenth."
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
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
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
