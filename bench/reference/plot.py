"""Draws the figures: `python plot.py results.json results.png`, in the reference's environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLORS = {"reference": "#999999", "sluice": "#1f6fb4", "noop": "#e0a030", "noop direct": "#c06000"}


def main(source: str, target: str) -> None:
    """Draw throughput, p99 and processor time over the number of connections, and by batch."""
    results = json.loads(Path(source).read_text())
    by_connections = {
        int(name.removeprefix("rest-")): case["stacks"]
        for name, case in results["cases"].items()
        if name.startswith("rest-")
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 8))
    drawn = (
        (axes[0][0], "throughput", "POST /submit: requests a second"),
        (axes[0][1], "p99_ms", "POST /submit: p99, ms"),
        (axes[1][0], "cpu_total", "POST /submit: CPU seconds for 1,000, all programs"),
    )
    for axis, key, title in drawn:
        for stack, color in COLORS.items():
            points = sorted(
                (count, stacks[stack][key])
                for count, stacks in by_connections.items()
                if stack in stacks
            )
            if not points:
                continue
            x = [count for count, _ in points]
            axis.plot(x, [each["median"] for _, each in points], "o-", color=color, label=stack)
            low = [each["low"] for _, each in points]
            axis.fill_between(x, low, [each["high"] for _, each in points], color=color, alpha=0.15)
        axis.set_xscale("log")
        axis.set_yscale("log" if key == "p99_ms" else "linear")
        axis.set_xlabel("connections")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    _bars(axes[1][1], results)
    machine = results["machine"]
    figure.suptitle(
        f"{machine['cores']} cores of {machine['processor']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load generator included"
    )
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def _bars(axis: plt.Axes, results: dict[str, object]) -> None:
    """Draw interactions a second, with a logarithmic scale: they differ by orders of magnitude."""
    bars = []
    cases = results["cases"]
    for name, case in cases.items():  # type: ignore[attr-defined]
        if name.startswith(("batch-", "stream-")):
            bars.append((name, case["stacks"]["sluice"]["throughput"]["median"], "sluice"))
    for stack, each in (results.get("end_to_end") or {}).items():  # type: ignore[attr-defined]
        bars.append((f"end to end\n{stack}", each["steady_written_per_second"], stack))
    axis.set_title("interactions a second")
    if not bars:
        return
    names, values, stacks = zip(*bars, strict=True)
    axis.bar(names, values, color=[COLORS[stack] for stack in stacks])
    axis.set_yscale("log")
    axis.tick_params(axis="x", labelrotation=30)
    for place, value in enumerate(values):
        axis.text(place, value, f"{value:,.0f}", ha="center", va="bottom", fontsize=8)


if __name__ == "__main__":
    main(*sys.argv[1:])
