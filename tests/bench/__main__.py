"""Runs the bench: `python -m tests.bench [--seconds N] [--only NAME,...] [--quick]`.

Starts every stack on free ports, alternates between them, stops them, and writes
`results/latest.json`, `latest.md` and `latest.png` beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.local.mesh import MeshError
from deploy.local.parts import PartMissing
from tests.bench import environment, machine, tables
from tests.bench.cases import Case, cases, growing_cases
from tests.bench.loads import GrpcLoad, HttpLoad, LoadFailed
from tests.bench.measuring import (
    Measurement,
    end_to_end,
    measure,
    soak,
    stored_bytes,
    summary,
)
from tests.bench.payloads import as_batch, as_json
from tests.bench.stacks import Noop, NoopDirect, Reference, Sluice, Stack

RESULTS = environment.HERE / "results"
WARM_UP_SECONDS = 1.0
RECOVERY_SECONDS = 3.0
"""After a round in which no call succeeded: the gateway takes back what it took for dead."""
SOAK_LOAD = 0.5

REST = HttpLoad("/submit", 32, as_json("20 B"))
BATCH = GrpcLoad("SubmitBatch", as_batch("20 B", 1000), 8, 4, items=1000)


def main() -> None:
    """Run what is asked for. Exits with one sentence when it cannot."""
    options = _options()
    environment.http_loader()
    environment.grpc_loader()
    environment.reference_python()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch:
        results = _run(options, Path(scratch))
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / options.name
    kept.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    kept.with_suffix(".md").write_text(tables.markdown(results))
    plot = environment.REFERENCE / "plot.py"
    picture = kept.with_suffix(".png")
    subprocess.run(
        [environment.reference_python(), plot, kept.with_suffix(".json"), picture], check=True
    )
    print(f"Written: {kept.with_suffix('.md')}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="alternated rounds")
    parser.add_argument(
        "--only", default="", help="names, comma separated; rest stands for rest-1, rest-10 ..."
    )
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: a look, no result")
    parser.add_argument("--end-to-end-seconds", type=float, default=10.0)
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--growth", action="store_true", help="batches of 1 to 5,000, too")
    parser.add_argument("--fsync", default="always", choices=("always", "everysec"))
    parser.add_argument("--ingest", type=int, default=1, help="ingest and uvicorn processes")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--gateway-threads", type=int, default=1)
    parser.add_argument("--name", default="latest", help="name of the files in results/")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.end_to_end_seconds = 2.0, 1, 4.0
    return options


def _run(options: argparse.Namespace, state: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "redis_fsync": options.fsync,
        "ingest_processes": options.ingest,
        "worker_processes": options.workers,
        "gateway_threads": options.gateway_threads,
        "redis_memory": "4gb",
    }
    sluice = Sluice(state, settings)
    reference = Reference(state, settings)
    noop = Noop(state, settings)
    stacks: dict[str, Stack] = {
        each.name: each for each in (reference, sluice, noop, NoopDirect(noop))
    }
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "settings": {"seconds": options.seconds, "rounds": options.rounds, **settings},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }

    def wanted(name: str) -> bool:
        return not options.only or any(
            name == part or name.startswith(f"{part}-") for part in options.only.split(",")
        )

    try:
        for stack in stacks.values():
            stack.start()
        task_ids = {"noop": "01KAT8ZC3GQ4M7T7DPSZ6T6CBX-0"}
        for stack in (sluice, reference):
            task_ids[stack.name] = _submit(stack)
        for stack in (sluice, reference, noop):
            REST.run(stack.address, WARM_UP_SECONDS)
            stack.drain(30)
        chosen = [case for case in cases(task_ids) if wanted(case.name)]
        results["cases"] = _measure(chosen, stacks, options)
        if options.growth:
            results["growth"] = _measure(growing_cases(), stacks, options)
        if wanted("end-to-end"):
            print("end to end ...", flush=True)
            results["end_to_end"] = {
                "reference": end_to_end(reference, REST, options.end_to_end_seconds),
                "sluice": end_to_end(sluice, BATCH, options.end_to_end_seconds),
            }
        if wanted("stored"):
            print("bytes for one interaction ...", flush=True)
            results["stored"] = {
                "sluice, POST /submit, 32 connections": stored_bytes(sluice, REST, options.seconds),
                "sluice, POST /submit, 1 connection": stored_bytes(
                    sluice, HttpLoad("/submit", 1, as_json("20 B")), options.seconds
                ),
                "sluice, SubmitBatch of 1,000": stored_bytes(sluice, BATCH, options.seconds),
                "reference, POST /submit": stored_bytes(reference, REST, options.seconds),
            }
        if options.soak:
            print("soak ...", flush=True)
            most = measure(sluice, REST, options.seconds).throughput
            results["soak"] = soak(sluice, REST, options.soak, SOAK_LOAD * most)
    finally:
        for stack in stacks.values():
            stack.stop()
    return results


def _measure(
    chosen: Sequence[Case], stacks: dict[str, Stack], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure each case on its stacks in turn, every other round in the reverse order."""
    told = {}
    for case in chosen:
        rounds: dict[str, list[Measurement]] = defaultdict(list)
        refused: dict[str, int] = defaultdict(int)
        for number in range(options.rounds):
            order = list(case.loads)
            for name in order if number % 2 == 0 else reversed(order):
                try:
                    found = measure(stacks[name], case.loads[name], options.seconds)
                except LoadFailed as error:
                    print(f"{case.name:14} {name:12} {error}", flush=True)
                    refused[name] += 1
                    time.sleep(RECOVERY_SECONDS)
                    continue
                rounds[name].append(found)
                print(
                    f"{case.name:14} {name:12} {found.throughput:10,.0f}/s  p99 "
                    f"{found.p99_ms:8.1f} ms  CPU {sum(found.cpu.values()):.3f} s per 1,000",
                    flush=True,
                )
        told[case.name] = {
            "title": case.title,
            "stacks": {name: summary(rounds[name]) for name in case.loads if rounds[name]},
            "rounds_without_success": dict(refused),
        }
    return told


def _submit(stack: Stack) -> str:
    """Submit once; return the task."""
    request = urllib.request.Request(
        f"http://{stack.address}/submit", as_json("20 B"), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["task_id"])


if __name__ == "__main__":
    try:
        main()
    except (LoadFailed, MeshError, PartMissing, RuntimeError) as error:
        sys.exit(str(error))
