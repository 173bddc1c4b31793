"""Turns measured figures into Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Results = Mapping[str, Any]

WRITING = ("worker", "influxdb", "celery")


def markdown(results: Results) -> str:
    """Return the whole report."""
    machine = results["machine"]
    texts = [
        "# The bench",
        circumstances(results),
        "Sluice: " + _versions(machine["sluice"]) + ".",
        "Reference: " + _versions(machine["reference"]) + ".",
        _targets(results),
        _cases(results["cases"]),
        _processors(results["cases"]),
    ]
    if results.get("end_to_end"):
        texts.append(_end_to_end(results["end_to_end"]))
    if results.get("stored"):
        texts.append(_stored(results["stored"]))
    if results.get("soak"):
        texts.append(_soak(results["soak"]))
    return "\n\n".join(text for text in texts if text) + "\n"


def circumstances(results: Results) -> str:
    """Return what was measured on, and how."""
    machine = results["machine"]
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, Linux "
        f"{machine['kernel']}, Python {machine['python']}, {machine['redis']} with "
        f"appendfsync {results['settings']['redis_fsync']}, InfluxDB {machine['influxdb']}, Envoy "
        f"{machine['envoy']}. The load generator ran on the same cores; the load average at the "
        f"start was {machine['load_average']:.1f}. {results['settings']['rounds']} alternated "
        f"rounds of {results['settings']['seconds']:g} s; medians, lowest and highest in brackets. "
        "Processor time is user and system time from the kernel, for 1,000 interactions, down to "
        "the row in InfluxDB where there is one."
    )


def ratio(results: Results, case: str, one: str, other: str, figure: str) -> float | None:
    """Return how many times `other`'s median `one`'s is, None when either was not measured."""
    stacks = results["cases"].get(case, {}).get("stacks", {})
    if one not in stacks or other not in stacks:
        return None
    below = stacks[other][figure]["median"]
    return stacks[one][figure]["median"] / below if below else None


def cpu(results: Results, case: str, stack: str, without: tuple[str, ...] = ()) -> float | None:
    """Return processor seconds per 1,000 interactions of a stack, some programs left out."""
    stacks = results["cases"].get(case, {}).get("stacks", {})
    if stack not in stacks:
        return None
    return sum(
        (seconds for name, seconds in stacks[stack]["cpu"].items() if name not in without), 0.0
    )


def _targets(results: Results) -> str:
    def divide(one: float | None, other: float | None) -> float | None:
        return None if one is None or not other else one / other

    def rate(case: str) -> float | None:
        found = results["cases"].get(case, {}).get("stacks", {}).get("sluice")
        return None if found is None else found["throughput"]["median"]

    def written(stack: str) -> float | None:
        found = results.get("end_to_end", {}).get(stack)
        return None if found is None else found["steady_written_per_second"]

    writers = (*WRITING, "redis")
    times: Callable[[float], str] = lambda value: f"{value:.2f}×"  # noqa: E731
    plain: Callable[[float], str] = lambda value: f"{value:,.0f}/s"  # noqa: E731
    seconds: Callable[[float], str] = lambda value: f"{value:.2f} s"  # noqa: E731
    latency = None
    stacks = results["cases"].get("rest-1", {}).get("stacks", {})
    if "sluice" in stacks and "noop" in stacks:
        latency = stacks["sluice"]["p50_ms"]["median"] - stacks["noop"]["p50_ms"]["median"]
    rows: list[tuple[str, str, float | None, Callable[[float], str]]] = []
    for count in (32, 100):
        case = f"rest-{count}"
        rows += [
            (
                f"REST submit, {count} connections, throughput against the reference",
                "≥ 8×",
                ratio(results, case, "sluice", "reference", "throughput"),
                times,
            ),
            (
                f"REST submit, {count} connections, p99 against the reference",
                "≤ 0.15×",
                ratio(results, case, "sluice", "reference", "p99_ms"),
                times,
            ),
            (
                f"REST submit, {count} connections, CPU of all programs against the no-op",
                "≤ 1.5×",
                divide(cpu(results, case, "sluice"), cpu(results, case, "noop")),
                times,
            ),
            (
                "the same of gateway, ingest and alert service alone",
                "≤ 1.25×",
                divide(cpu(results, case, "sluice", writers), cpu(results, case, "noop")),
                times,
            ),
        ]
    rows += [
        (
            "REST submit, 32 connections, CPU against the reference, everything included",
            "≤ 0.2×",
            divide(cpu(results, "rest-32", "sluice"), cpu(results, "rest-32", "reference")),
            times,
        ),
        ("SubmitBatch of 1,000", "≥ 50,000/s", rate("batch-1000"), plain),
        ("SubmitBatch of 100", "≥ 80,000/s", rate("batch-100"), plain),
        ("SubmitStream, pieces of 1,000", "≥ 50,000/s", rate("stream-1000"), plain),
        ("end to end into InfluxDB, steady", "≥ 80,000/s", written("sluice"), plain),
        (
            "end to end against the reference",
            "≥ 120×",
            divide(written("sluice"), written("reference")),
            times,
        ),
        (
            "10 KB nested, CPU of all programs against the no-op",
            "≤ 2.2×",
            divide(cpu(results, "payload-10kb", "sluice"), cpu(results, "payload-10kb", "noop")),
            times,
        ),
        ("refused submissions", "≥ 1,500/s", rate("rejected"), plain),
        ("the same, CPU for 1,000", "≤ 1.2 s", cpu(results, "rejected", "sluice"), seconds),
        (
            "100 submissions a second, CPU for 1,000",
            "≤ 3.5 s",
            cpu(results, "steady-100", "sluice"),
            seconds,
        ),
        (
            "GetStatus over REST against the no-op, throughput",
            "≥ 0.85×",
            ratio(results, "status", "sluice", "noop", "throughput"),
            times,
        ),
        (
            "latency added to the no-op with one connection, p50",
            "≤ 1.5 ms",
            latency,
            lambda value: f"{value:.2f} ms",
        ),
    ]
    lines = [f"| {what} | {goal} | {show(v)} |" for what, goal, v, show in rows if v is not None]
    if not lines:
        return ""
    return "\n".join(["## Targets\n", "| what | target | measured |", "|---|---|---|", *lines])


def _cases(cases: Mapping[str, Any]) -> str:
    lines = [
        "| work | stack | interactions/s | p50 ms | p99 ms | CPU s per 1,000 | load generator | "
        "failed |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for case in cases.values():
        lines += [
            f"| {case['title']} | {stack} | {spread(found['throughput'], '{:,.0f}')} | "
            f"{found['p50_ms']['median']:.1f} | {spread(found['p99_ms'], '{:.1f}')} | "
            f"{spread(found['cpu_total'], '{:.3f}')} | {found['loader_cpu']:.3f} | "
            f"{found['failed']} |"
            for stack, found in case["stacks"].items()
        ]
        lines += [
            f"| {case['title']} | {stack} | no call succeeded in {count} rounds | | | | | |"
            for stack, count in case["rounds_without_success"].items()
        ]
    return "\n".join(["## Work", "", *lines]) if cases else ""


def _processors(cases: Mapping[str, Any]) -> str:
    lines = ["| work | stack | CPU s per 1,000 by program | resident MB |", "|---|---|---|---|"]
    for case in cases.values():
        lines += [
            f"| {case['title']} | {stack} | {listed(found['cpu'], '{:.3f}')} | "
            f"{listed(found['resident_mb'], '{:.0f}')} |"
            for stack, found in case["stacks"].items()
        ]
    return "\n".join(["## Where the processor time goes", "", *lines]) if cases else ""


def _end_to_end(found: Mapping[str, Any]) -> str:
    lines = [
        "| stack | burst, accepted/s | burst, written/s | steady, written/s | most waiting | "
        "waiting at the end | flat | rows of submitted | failed calls | CPU s per 1,000 |",
        "|---|--:|--:|--:|--:|--:|---|---|--:|---|",
    ]
    lines += [
        f"| {stack} | {each['burst_accepted_per_second']:,.0f} | "
        f"{each['burst_written_per_second']:,.0f} | {each['steady_written_per_second']:,.0f} | "
        f"{each['backlog_most']:,} | {each['backlog_at_end']:,} | "
        f"{'yes' if each['flat'] else 'no'} | {each['rows']:,} of {each['submitted']:,} | "
        f"{each['failed']} | {listed(each['cpu'], '{:.3f}')} |"
        for stack, each in found.items()
    ]
    return "\n".join(["## End to end, down to the row in InfluxDB", "", *lines])


def _stored(found: Mapping[str, Any]) -> str:
    lines = [
        "| work | Redis bytes, waiting | append-only file | Redis bytes, done | InfluxDB bytes |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {what} | {each['pending']:,.0f} | {each['pending_log']:,.0f} | {each['done']:,.0f} | "
        f"{each['database']:,.0f} |"
        for what, each in found.items()
    ]
    return "\n".join(["## Bytes for one interaction", "", *lines])


def _soak(minutes: list[Mapping[str, Any]]) -> str:
    lines = ["| minute | calls | p99 ms | waiting | resident MB |", "|--:|--:|--:|--:|---|"]
    lines += [
        f"| {number} | {each['calls']:,} | {each['p99_ms']:.1f} | {each['backlog']:,} | "
        f"{listed(each['resident_mb'], '{:.0f}')} |"
        for number, each in enumerate(minutes, 1)
    ]
    return "\n".join(["## Soak", "", *lines])


def spread(figure: Mapping[str, float], form: str) -> str:
    """Return a median, with the lowest and highest beside it where they differ."""
    low, high = form.format(figure["low"]), form.format(figure["high"])
    middle = form.format(figure["median"])
    return middle if low == high else f"{middle} ({low}–{high})"


def listed(values: Mapping[str, float], form: str) -> str:
    """Return figures by program in one line."""
    return ", ".join(f"{name} {form.format(value)}" for name, value in sorted(values.items()))


def _versions(named: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in named.items())
