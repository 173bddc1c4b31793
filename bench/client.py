"""Measures the Python client: `python -m bench.client [--seconds N] [--minutes M]`.

On a mesh of its own: events as fast as one process can submit them one by one, beside a call of
the stubs for each; how long a receipt takes at 1,000 a second; and with `--minutes` whether memory
stays flat at half of the most. Prints a line for each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.stacks import Sluice
from deploy.local.bootstrap import ROOT
from mesh.console import ignore_output_errors

DRAIN_SECONDS = 60.0
RATE = 1000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.client", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (10)")
    parser.add_argument("--minutes", type=float, default=0.0, help="of half of the load (none)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch:
        stack = Sluice(Path(scratch), {"redis_memory": "4gb"})
        try:
            stack.start()
            _measure(stack, "client", 2.0)
            most = _measure(stack, "client", options.seconds)
            _print("submit, event by event", most)
            _print("Submit, 16 calls at a time", _measure(stack, "calls", options.seconds))
            _print("submit, 1,000 a second", _measure(stack, "client", options.seconds, RATE))
            if options.minutes:
                half = most["per_second"] / 2
                found = _measure(stack, "client", options.minutes * 60, half)
                _print(f"submit, {half:,.0f} a second for {options.minutes:g} minutes", found)
                print("  resident MB:", *(f"{each:.0f}" for each in found["resident_mb"][::12]))
        finally:
            stack.stop()


def _measure(stack: Sluice, how: str, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Return what a program saw, and what it cost the mesh."""
    before = stack.usage()
    command = [sys.executable, "-m", "bench.client_program", stack.address, how, str(seconds)]
    done = subprocess.run(
        [*command, *([str(rate)] if rate else [])],
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    stack.drain(DRAIN_SECONDS)
    spent = stack.usage().since(before).cpu_seconds
    found["server_us"] = {
        name: cpu / found["events"] * 1e6 for name, cpu in spent.items() if cpu > 0
    }
    return found


def _print(what: str, found: dict[str, Any]) -> None:
    costs = found["server_us"]
    accepting = sum(costs.get(name, 0.0) for name in ("api_gateway", "ingest_service", "redis"))
    times = (
        ""
        if found["p99_ms"] is None
        else (f", p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms")
    )
    by_program = ", ".join(f"{name} {cost:.0f}" for name, cost in sorted(costs.items()))
    print(
        f"{what}: {found['per_second']:,.0f} a second{times}; µs of processor for each: client "
        f"{found['client_us']:.0f}, server until the receipt {accepting:.0f}, in all "
        f"{sum(costs.values()):.0f} ({by_program})",
        flush=True,
    )


if __name__ == "__main__":
    ignore_output_errors()
    main()
