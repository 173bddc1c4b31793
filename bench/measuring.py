"""Measures: one load on one stack, with what it cost every program, and what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.loads import HttpLoad, Load
from bench.stacks import Reference, Sluice, Stack

DRAIN_SECONDS = 90.0
SAMPLE_SECONDS = 0.5
STEADY = 0.85
"""Which part of the rate that a burst reached, its backlog included, is asked for steadily."""
FLAT_SECONDS = 1.0
"""A backlog is flat when at the end it is no more than this much work."""

WRITERS = ("celery", "influxdb", "worker")
"""Programs whose work goes on after the answer."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One round: interactions a second, milliseconds, processor seconds per 1,000 interactions."""

    throughput: float
    failed: int
    p50_ms: float
    p99_ms: float
    cpu: Mapping[str, float]
    loader_cpu: float
    resident_mb: Mapping[str, float]


def measure(stack: Stack, load: Load, seconds: float) -> Measurement:
    """Put `load` on `stack`, wait until its backlog is gone, and return what it cost in all."""
    before = stack.usage()
    accepted_before = stack.accepted() if isinstance(stack, Sluice) else 0
    seen = load.run(stack.address, seconds)
    resident = stack.usage().resident_bytes
    calls = seen.calls * load.items
    accepted = stack.accepted() - accepted_before if isinstance(stack, Sluice) else calls
    left = 0 if stack.drain(DRAIN_SECONDS) else stack.backlog()
    spent = stack.usage().since(before).cpu_seconds
    if left and isinstance(stack, Reference):
        stack.discard()
    # What was not written has not cost its writers anything yet.
    done = max(1, calls - left)
    return Measurement(
        throughput=(accepted or calls) / seen.seconds,
        failed=seen.failed,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        cpu={
            name: cpu / (done if name in WRITERS else calls) * 1000 for name, cpu in spent.items()
        },
        loader_cpu=seen.loader_cpu_seconds / calls * 1000,
        resident_mb={name: size / 2**20 for name, size in resident.items()},
    )


def summary(rounds: list[Measurement]) -> dict[str, Any]:
    """Return the medians of some rounds, and the lowest and highest of what is compared."""

    def of(values: list[float]) -> dict[str, float]:
        return {"median": median(values), "low": min(values), "high": max(values)}

    return {
        "throughput": of([each.throughput for each in rounds]),
        "failed": sum(each.failed for each in rounds),
        "p50_ms": of([each.p50_ms for each in rounds]),
        "p99_ms": of([each.p99_ms for each in rounds]),
        "cpu_total": of([sum(each.cpu.values()) for each in rounds]),
        "cpu": {name: median([each.cpu.get(name, 0) for each in rounds]) for name in rounds[0].cpu},
        "loader_cpu": median([each.loader_cpu for each in rounds]),
        "resident_mb": {
            name: max(each.resident_mb.get(name, 0) for each in rounds)
            for name in rounds[0].resident_mb
        },
    }


def end_to_end(stack: Sluice | Reference, load: Load, seconds: float) -> dict[str, Any]:
    """Find the rate at which rows reach the database, then hold the load at `STEADY` of it.

    The first is a burst and its backlog, timed until the last row is written. The second must
    leave the backlog flat. Rows are counted in the database at the end.
    """
    rows_before = stack.rows()
    began = time.monotonic()
    burst = load.run(stack.address, seconds / 2)
    drained = stack.drain(DRAIN_SECONDS)
    written = stack.rows() - rows_before
    through = written / (time.monotonic() - began)
    if not drained and isinstance(stack, Reference):
        stack.discard()
        stack.drain(5)
    watch = _Backlog(stack)
    before, rows_before, began = stack.usage(), stack.rows(), time.monotonic()
    watch.start()
    steady = load.run(stack.address, seconds, STEADY * through / load.items)
    backlog_at_end = stack.backlog()
    watch.stop()
    took = time.monotonic() - began
    stack.drain(DRAIN_SECONDS)
    spent = stack.usage().since(before).cpu_seconds
    rows = stack.rows() - rows_before
    asked = steady.calls * load.items
    return {
        "burst_accepted_per_second": burst.calls * load.items / burst.seconds,
        "burst_written_per_second": through,
        "steady_written_per_second": (rows - backlog_at_end) / took,
        "failed": burst.failed + steady.failed,
        "steady_p99_ms": steady.p99_ms,
        "backlog_most": max(watch.seen, default=0),
        "backlog_at_end": backlog_at_end,
        "flat": backlog_at_end <= FLAT_SECONDS * through,
        "submitted": asked,
        "rows": rows,
        "cpu": {name: cpu / max(rows, 1) * 1000 for name, cpu in spent.items()},
    }


def stored_bytes(stack: Sluice | Reference, load: Load, seconds: float) -> dict[str, float]:
    """Return Redis' bytes for an interaction that waits, and for one that is done.

    The worker is stopped while the load runs, and started afterwards. `database` is what InfluxDB
    has on disk then: its log and what it has compressed by itself in that short time.
    """
    stack.stop_workers()
    empty, (_, log_before) = kept_bytes(stack), redis_bytes(stack)
    disk_before = disk_bytes(stack)
    seen = load.run(stack.address, seconds)
    full, (_, log_after) = kept_bytes(stack), redis_bytes(stack)
    jobs = stack.jobs()
    stack.start_workers()
    stack.drain(DRAIN_SECONDS)
    # The last job is acknowledged after it has been counted.
    time.sleep(SAMPLE_SECONDS)
    done = kept_bytes(stack)
    count = seen.calls * load.items
    if isinstance(stack, Reference) and stack.backlog():
        stack.discard()
    return {
        "interactions": count,
        "jobs": jobs,
        "pending": (full - empty) / count,
        "pending_log": (log_after - log_before) / count,
        "done": (done - empty) / count,
        "database": (disk_bytes(stack) - disk_before) / count,
    }


def soak(stack: Sluice, load: HttpLoad, minutes: float, rate: float) -> list[dict[str, Any]]:
    """Hold a load for long; return memory, backlog and latency minute by minute."""
    told = []
    ends = time.monotonic() + minutes * 60
    while (left := ends - time.monotonic()) > 1:
        seen = load.run(stack.address, min(60.0, left), rate)
        told.append(
            {
                "calls": seen.calls,
                "p99_ms": seen.p99_ms,
                "backlog": stack.backlog(),
                "resident_mb": {
                    name: size / 2**20 for name, size in stack.usage().resident_bytes.items()
                },
            }
        )
    return told


def disk_bytes(stack: Stack) -> int:
    """Return the bytes of InfluxDB's files."""
    data = stack.supervisor.logs.parent / "influxdb"
    return sum(each.stat().st_size for each in data.rglob("*") if each.is_file())


def redis_bytes(stack: Sluice | Reference) -> tuple[int, int]:
    """Return the bytes that Redis has in use, and those of its append-only file."""
    info: Any = stack.redis.info()
    return info["used_memory"], info["aof_current_size"]


def kept_bytes(stack: Sluice | Reference) -> int:
    """Return the bytes of everything that Redis keeps.

    What it has in use beyond that is mostly buffers. They come and go with its connections, and are
    more than what lies in it after a few interactions.
    """
    with stack.redis.pipeline(transaction=False) as pipeline:
        for key in stack.redis.scan_iter(count=1000):
            pipeline.memory_usage(key, samples=0)
        return sum(size or 0 for size in pipeline.execute())


class _Backlog:
    """Looks at a stack's backlog now and then."""

    def __init__(self, stack: Stack) -> None:
        self.seen: list[int] = []
        self._stack = stack
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.seen.append(self._stack.backlog())
