"""Measures what an interaction costs as something grows: connections, batches, backlog, processes.

Every part but the first two has fresh stacks, with empty stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import BATCH, REST, batch_cases, connection_cases
from bench.loads import GrpcLoad, HttpLoad, LoadFailed
from bench.measuring import disk_bytes, end_to_end, measure, redis_bytes, summary
from bench.payloads import as_json
from bench.rounds import measure_cases
from bench.stacks import Sluice
from bench.usage import peak_of
from job_store.keys import INTERACTIONS
from worker.dramatiq_queue.consumer import BATCH_BYTES
from worker.dramatiq_queue.partition_queue import PartitionQueue
from worker.process import JOBS_AT_A_TIME

PARTS = ("connections", "batches", "backlog", "processes")
BACKLOGS = (50_000, 500_000, 5_000_000)
PROCESSES = (1, 2, 4)
PROCESSES_LOAD = HttpLoad("/submit", 100, as_json("20 B"))

WARM_UP_SECONDS = 1.0
FILL_SECONDS = 150.0
"""How long filling up may take, all steps together."""
EMPTY_SECONDS = 240.0
"""How long the worker gets for the whole backlog."""
FETCHES = 20
SAMPLE_SECONDS = 0.1
HEARTBEAT_SECONDS = 60.0
"""Longer than the fetches of a step take, so that no worker seems to have died."""


def grow(
    state: Path,
    settings: Mapping[str, Any],
    *,
    parts: Sequence[str],
    rounds: int,
    seconds: float,
    end_to_end_seconds: float,
    backlogs: Sequence[int],
) -> dict[str, Any]:
    """Measure the parts that are named. `seconds` is the length of one measurement."""
    told: dict[str, Any] = {}
    cases = {"connections": connection_cases(), "batches": batch_cases()}
    if chosen := [part for part in cases if part in parts]:
        with warm_mesh(state / "cases", settings) as stack:
            for part in chosen:
                told[part] = measure_cases(cases[part], {stack.name: stack}, rounds, seconds)
    if "backlog" in parts:
        with warm_mesh(state / "backlog", settings) as stack:
            told["backlog"] = _grow_backlog(stack, BATCH, sorted(backlogs), seconds)
    if "processes" in parts:

        def ingest(stack: Sluice) -> dict[str, Any]:
            return summary([measure(stack, PROCESSES_LOAD, seconds) for _ in range(rounds)])

        def workers(stack: Sluice) -> dict[str, Any]:
            return end_to_end(stack, BATCH, end_to_end_seconds) | {"resident_mb": _resident(stack)}

        told["processes"] = {
            "ingest": _grow_processes(state, settings, "ingest", ingest),
            "worker": _grow_processes(state, settings, "worker", workers),
        }
    return told


@contextmanager
def warm_mesh(state: Path, settings: Mapping[str, Any]) -> Iterator[Sluice]:
    """Give a mesh that has served some calls; it stops at the end."""
    stack = Sluice(state, settings)
    try:
        stack.start()
        REST.run(stack.address, WARM_UP_SECONDS)
        stack.drain(30)
        yield stack
    finally:
        stack.stop()


def _grow_backlog(
    stack: Sluice, load: GrpcLoad, sizes: Sequence[int], seconds: float
) -> dict[str, Any]:
    """Let a backlog grow to `sizes` while no worker runs, then let one worker write it all.

    Ends early, with what was reached, when submissions are refused or the time is over.
    """
    stack.stop_workers()
    empty, _ = redis_bytes(stack)
    disk_empty, rows_before = disk_bytes(stack), stack.rows()
    steps: list[dict[str, Any]] = []
    ended = ""
    ends = time.monotonic() + FILL_SECONDS
    for size in sizes:
        ended = _fill(stack, load, size, ends - time.monotonic())
        if ended and steps and stack.backlog() <= steps[-1]["interactions"]:
            break
        steps.append(_at_depth(stack, load, seconds, empty))
        print(
            f"backlog        {steps[-1]['interactions']:12,}  {steps[-1]['bytes']:.0f} B each  "
            f"fetch {steps[-1]['fetch_ms']:.1f} ms {ended}",
            flush=True,
        )
        if ended:
            break
    full = stack.backlog()
    emptied = _empty(stack, full)
    rows = stack.rows() - rows_before
    emptied |= {
        "rows": rows,
        "database_bytes": (disk_bytes(stack) - disk_empty) / max(rows, 1),
        "redis_bytes": (redis_bytes(stack)[0] - empty) / full,
    }
    print(f"backlog        emptied at {emptied['written_per_second']:,.0f}/s", flush=True)
    return {"steps": steps, "ended": ended, "emptied": emptied}


def _fill(stack: Sluice, load: GrpcLoad, size: int, seconds: float) -> str:
    """Submit until `size` interactions wait. Returns why it ended before, or nothing."""
    calls = ceil((size - stack.backlog()) / load.items)
    if calls <= 0:
        return ""
    if seconds <= 0:
        return "the time was over"
    try:
        replace(load, limit=calls).run(stack.address, seconds)
    except LoadFailed as error:
        return str(error)
    return "" if stack.backlog() >= size else "the time was over"


def _at_depth(stack: Sluice, load: GrpcLoad, seconds: float, empty: int) -> dict[str, Any]:
    """Measure what waits, a fetch, and then what accepting costs beside it."""
    waiting, jobs = stack.backlog(), stack.jobs()
    used, log = redis_bytes(stack)
    fetch_ms, redis_ms = _fetch(stack)
    before, began = stack.usage(), time.monotonic()
    failed = ""
    try:
        took = load.run(stack.address, seconds).seconds
    except LoadFailed as error:
        failed, took = str(error), time.monotonic() - began
    accepted = stack.backlog() - waiting
    spent = stack.usage().since(before).cpu_seconds
    return {
        "interactions": waiting,
        "jobs": jobs,
        "redis_bytes": used,
        "log_bytes": log,
        "bytes": (used - empty) / max(waiting, 1),
        "fetch_ms": fetch_ms,
        "fetch_in_redis_ms": redis_ms,
        "accepted_per_second": accepted / took,
        "failed": failed,
        "cpu": {name: cpu / accepted * 1000 for name, cpu in spent.items()} if accepted else {},
        "resident_mb": _resident(stack),
    }


def _fetch(stack: Sluice) -> tuple[float, float]:
    """Return the milliseconds of a fetch as a worker makes it: all in all, and within Redis.

    What is fetched goes back to the end of the queue.
    """
    queue = PartitionQueue(stack.partitions.all[0], INTERACTIONS, HEARTBEAT_SECONDS)
    taken, within = [], []
    for _ in range(FETCHES):
        scripts_before, began = _script_seconds(stack), time.monotonic()
        queue.fetch(JOBS_AT_A_TIME, BATCH_BYTES)
        taken.append(time.monotonic() - began)
        within.append(_script_seconds(stack) - scripts_before)
        queue.requeue(list(queue.fetched()))
    return median(taken) * 1000, median(within) * 1000


def _script_seconds(stack: Sluice) -> float:
    found: Any = stack.redis.info("commandstats")
    return float(found.get("cmdstat_evalsha", {"usec": 0})["usec"]) / 1e6


def _empty(stack: Sluice, full: int) -> dict[str, Any]:
    """Start the worker and time it, from its first job to its last."""
    before = stack.usage()
    stack.start_workers()
    deadline = time.monotonic() + EMPTY_SECONDS
    while (left := stack.backlog()) == full and time.monotonic() < deadline:
        time.sleep(SAMPLE_SECONDS)
    first, began = left, time.monotonic()
    stack.drain(deadline - began)
    took = time.monotonic() - began
    left = stack.backlog()
    spent = stack.usage().since(before).cpu_seconds
    return {
        "waiting": full,
        "left": left,
        "seconds": took,
        "written_per_second": (first - left) / took,
        "cpu": {name: cpu / max(full - left, 1) * 1000 for name, cpu in spent.items()},
        "peak_mb": {name: size / 2**20 for name, size in peak_of(stack.pids()).items()},
    }


def _grow_processes(
    state: Path, settings: Mapping[str, Any], kind: str, found: Callable[[Sluice], dict[str, Any]]
) -> dict[str, Any]:
    """Measure with 1, 2, 4 processes of one kind, and one of the other."""
    told = {}
    others = {"ingest_processes": 1, "worker_processes": 1}
    for count in PROCESSES:
        own = {**settings, **others, f"{kind}_processes": count}
        with warm_mesh(state / f"{kind}-{count}", own) as stack:
            told[str(count)] = found(stack)
        print(f"{kind:14} {count} processes measured", flush=True)
    return told


def _resident(stack: Sluice) -> dict[str, float]:
    return {name: size / 2**20 for name, size in stack.usage().resident_bytes.items()}
