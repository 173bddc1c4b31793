"""Turns the figures of growth into Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.tables import Results, circumstances, listed, spread


def markdown(results: Results) -> str:
    """Return the whole report of what was measured."""
    texts = ["# Growth", circumstances(results)]
    if "connections" in results:
        texts += ["## As connections grow", _cases(results["connections"])]
    if "batches" in results:
        texts += ["## As batches grow", _cases(results["batches"])]
    if "backlog" in results:
        texts += ["## As the backlog grows", _backlog(results["backlog"])]
    if "processes" in results:
        texts += ["## With more processes", _processes(results)]
    if "division" in results:
        texts += ["## As Redis is divided", _division(results["division"])]
    return "\n\n".join(texts) + "\n"


def _cases(cases: Mapping[str, Any]) -> str:
    lines = [
        "| work | interactions/s | p50 ms | p99 ms | CPU s per 1,000 | by program | resident MB |",
        "|---|--:|--:|--:|--:|---|---|",
    ]
    for case in cases.values():
        lines += [
            f"| {case['title']} | {spread(found['throughput'], '{:,.0f}')} | "
            f"{found['p50_ms']['median']:.1f} | {spread(found['p99_ms'], '{:.1f}')} | "
            f"{spread(found['cpu_total'], '{:.3f}')} | {listed(found['cpu'], '{:.3f}')} | "
            f"{listed(found['resident_mb'], '{:.0f}')} |"
            for found in case["stacks"].values()
        ]
        lines += [
            f"| {case['title']} | no call succeeded in {count} rounds | | | | | |"
            for count in case["rounds_without_success"].values()
        ]
    return "\n".join(lines)


def _backlog(found: Mapping[str, Any]) -> str:
    steps, emptied = found["steps"], found["emptied"]
    lines = [
        "No worker ran while this was submitted, in batches. Memory is what Redis has in use, for "
        "each waiting interaction what came on top of the empty Redis. A fetch is what a worker "
        "asks of Redis when it has nothing, two jobs; the last columns are what submitting costs "
        "at that depth.",
        "",
        "| waiting | jobs | Redis MB | bytes each | append-only file MB | fetch ms | within Redis "
        "ms | accepted/s | CPU s per 1,000 | ingest MB |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {each['interactions']:,} | {each['jobs']:,} | {each['redis_bytes'] / 1e6:,.0f} | "
            f"{each['bytes']:.0f} | {each['log_bytes'] / 1e6:,.0f} | {each['fetch_ms']:.2f} | "
            f"{each['fetch_in_redis_ms']:.2f} | {each['accepted_per_second']:,.0f} | "
            f"{_sum(each['cpu'])} | "
            f"{each['resident_mb']['ingest_service']:.0f} |"
            for each in steps
        ),
    ]
    if found["ended"]:
        lines += ["", f"It ended there: {found['ended']}."]
    lines += [
        f"\n{each['interactions']:,} deep, submissions were refused: {each['failed']}."
        for each in steps
        if each["failed"]
    ]
    left = f" {emptied['left']:,} were left when the time was over." if emptied["left"] else ""
    lines += [
        "",
        f"Then one worker wrote {emptied['waiting'] - emptied['left']:,} interactions, "
        f"{emptied['written_per_second']:,.0f} a second, with "
        f"{sum(emptied['cpu'].values()):.3f} s of CPU for 1,000 "
        f"({listed(emptied['cpu'], '{:.3f}')}); InfluxDB counted {emptied['rows']:,} rows.{left} "
        f"The most memory each program had: {listed(emptied['peak_mb'], '{:.0f}')} MB. Afterwards "
        f"an interaction took {emptied['redis_bytes']:.1f} bytes of Redis and "
        f"{emptied['database_bytes']:.1f} of InfluxDB's disk.",
    ]
    return "\n".join(lines)


def _sum(cpu: Mapping[str, float]) -> str:
    """Return the processor seconds of all programs, a dash when nothing was accepted."""
    return f"{sum(cpu.values()):.3f}" if cpu else "–"


def _processes(results: Results) -> str:
    machine, found = results["machine"], results["processes"]
    lines = [
        f"One of the other kind each time. All of them, the stores and the load generator share "
        f"{machine['cores']} cores: once these are busy, more processes cost more and bring "
        "nothing.",
        "",
        "| what | processes | interactions/s | CPU s per 1,000 | of it theirs | resident MB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| ingest: POST /submit, 100 connections, accepted | {count} | "
        f"{spread(each['throughput'], '{:,.0f}')} | {spread(each['cpu_total'], '{:.3f}')} | "
        f"{each['cpu']['ingest_service']:.3f} | {each['resident_mb']['ingest_service']:.0f} |"
        for count, each in found["ingest"].items()
    ]
    lines += [
        f"| worker: SubmitBatch of 1,000, a burst written | {count} | "
        f"{each['burst_written_per_second']:,.0f} | {sum(each['cpu'].values()):.3f} | "
        f"{each['cpu']['worker']:.3f} | {each['resident_mb']['worker']:.0f} |"
        for count, each in found["worker"].items()
    ]
    return "\n".join(lines)


def _division(found: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "CPU is seconds for 1,000 interactions at a fixed rate. Each primary of a cluster has a "
        "replica, and all of it runs on the cores that the rest uses.",
        "",
        "| load | primaries | partitions | confirming | p50 ms | p99 ms | busiest Redis | "
        "all Redis | ingest | worker |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {each['load']} | {each['primaries']} | {each['partitions']} | "
            f"{each['confirming']} | {each['p50_ms']:.1f} | {each['p99_ms']:.1f} | "
            f"{each['busiest_redis']:.4f} | {each['all_redis']:.4f} | {each['ingest']:.4f} | "
            f"{each['worker']:.4f} |"
            for each in sorted(found, key=lambda each: str(each["load"]))
        ),
    ]
    return "\n".join(lines)
