"""Draws growth: `python plot_growth.py growth.json growth.png`, in the reference's environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

FIRST, SECOND = "#1f6fb4", "#e0a030"


def main(source: str, target: str) -> None:
    """Draw what was measured; a part that was not stays empty."""
    results = json.loads(Path(source).read_text())
    figure, axes = plt.subplots(2, 2, figsize=(11, 8))
    _cost(axes[0][0], results.get("connections", {}), "POST /submit, by connections")
    _cost(axes[0][1], results.get("batches", {}), "SubmitBatch, by batch")
    _backlog(axes[1][0], results.get("backlog", {}).get("steps", []))
    _processes(axes[1][1], results.get("processes", {}))
    machine = results["machine"]
    figure.suptitle(
        f"{machine['cores']} cores of {machine['processor']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load generator included"
    )
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def _cost(axis: plt.Axes, cases: dict[str, Any], title: str) -> None:
    """Draw the processor time of 1,000 interactions, whole and of each program that matters."""
    axis.set_title(f"CPU seconds for 1,000: {title}")
    points = sorted(
        (int(name.rpartition("-")[2]), case["stacks"]["sluice"])
        for name, case in cases.items()
        if "sluice" in case["stacks"]
    )
    if not points:
        return
    counts = [count for count, _ in points]
    for program in sorted({name for _, found in points for name in found["cpu"]}):
        spent = [found["cpu"].get(program, 0) for _, found in points]
        # Too little to be counted in so short a time has no place on a logarithmic scale.
        if all(spent):
            axis.plot(counts, spent, ".--", label=program, alpha=0.7)
    total = [found["cpu_total"]["median"] for _, found in points]
    axis.plot(counts, total, "o-", color="black", label="all programs")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _backlog(axis: plt.Axes, steps: Sequence[dict[str, Any]]) -> None:
    axis.set_title("Backlog: Redis memory and fetch")
    if not steps:
        return
    waiting = [each["interactions"] for each in steps]
    axis.plot(waiting, [each["bytes"] for each in steps], "o-", color=FIRST)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("interactions that wait")
    axis.set_ylabel("bytes of Redis for each", color=FIRST)
    axis.grid(alpha=0.3)
    other = axis.twinx()
    other.plot(waiting, [each["fetch_ms"] for each in steps], "s-", color=SECOND)
    other.set_ylim(bottom=0)
    other.set_ylabel("fetch of two jobs, ms", color=SECOND)


def _processes(axis: plt.Axes, found: dict[str, Any]) -> None:
    """Draw what each count of processes reaches, and over each bar what 1,000 cost."""
    axis.set_title("Processes: interactions/s, CPU s per 1,000 above")
    bars = [
        (f"{count} ingest", each["throughput"]["median"], each["cpu_total"]["median"], FIRST)
        for count, each in found.get("ingest", {}).items()
    ] + [
        (f"{count} worker", each["burst_written_per_second"], sum(each["cpu"].values()), SECOND)
        for count, each in found.get("worker", {}).items()
    ]
    if not bars:
        return
    names, rates, costs, colors = zip(*bars, strict=True)
    axis.bar(names, rates, color=colors)
    axis.set_yscale("log")
    for place, (rate, cost) in enumerate(zip(rates, costs, strict=True)):
        axis.text(place, rate, f"{rate:,.0f}\n{cost:.3f} s", ha="center", va="bottom", fontsize=8)
    axis.margins(y=0.25)


if __name__ == "__main__":
    main(*sys.argv[1:])
