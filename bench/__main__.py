"""Runs the bench: `python -m bench [--growth] [--seconds N] [--only NAME,...] [--quick]`.

Starts every stack on free ports, alternates between them, stops them, and writes
`results/latest.json`, `latest.md` and `latest.png` beside this file. With --growth it measures
Sluice alone as load, batches, backlog and processes grow, and writes `growth.*` there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench import environment, growth_tables, machine, tables
from bench import noop as noop_service
from bench.cases import BATCH, REST, cases, stored_cases
from bench.division import divide
from bench.growth import BACKLOGS, PARTS, grow, warm_mesh
from bench.loads import LoadFailed
from bench.measuring import end_to_end, measure, soak, stored_bytes
from bench.payloads import as_json
from bench.rounds import measure_cases
from bench.stacks import Noop, NoopDirect, Reference, Sluice, Stack
from deploy.local.mesh import MeshError
from deploy.local.parts import PartMissing

RESULTS = environment.HERE / "results"
WARM_UP_SECONDS = 1.0
SOAK_LOAD = 0.5

GROWTH_PARTS = (*PARTS, "division")
GROWTH_BACKLOGS = ",".join(map(str, BACKLOGS))
QUICK_BACKLOGS = "20000,100000"


def main() -> None:
    """Run what is asked for. Exits with one sentence when it cannot."""
    options = _options()
    environment.http_loader()
    environment.grpc_loader()
    environment.reference_python()
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "settings": {"seconds": options.seconds, "rounds": options.rounds, **_settings(options)},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch:
        if options.growth:
            chosen = options.only.split(",") if options.only else GROWTH_PARTS
            results |= grow(
                Path(scratch),
                _settings(options),
                parts=chosen,
                rounds=options.rounds,
                seconds=options.seconds,
                end_to_end_seconds=options.end_to_end_seconds,
                backlogs=[int(size) for size in options.backlogs.split(",")],
            )
            if "division" in chosen:
                results["division"] = divide(
                    Path(scratch), _settings(options), options.rounds, options.seconds
                )
            text, drawing = growth_tables.markdown(results), "plot_growth.py"
        else:
            results |= _run(options, Path(scratch))
            text, drawing = tables.markdown(results), "plot.py"
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / options.name
    kept.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    kept.with_suffix(".md").write_text(text)
    plot = environment.REFERENCE / drawing
    picture = kept.with_suffix(".png")
    subprocess.run(
        [environment.reference_python(), plot, kept.with_suffix(".json"), picture], check=True
    )
    print(f"Written: {kept.with_suffix('.md')}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, help="length of one measurement (5, growth 4)")
    parser.add_argument("--rounds", type=int, help="alternated rounds (3, growth 2)")
    parser.add_argument(
        "--only",
        default="",
        help="names, comma separated; rest stands for rest-1, rest-10 ... With --growth: "
        + ", ".join(GROWTH_PARTS),
    )
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: a look, no result")
    parser.add_argument("--end-to-end-seconds", type=float, default=10.0)
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--growth", action="store_true", help="measure growth, and only that")
    parser.add_argument("--backlogs", default=GROWTH_BACKLOGS, help="interactions, with --growth")
    parser.add_argument("--fsync", default="always", choices=("always", "everysec"))
    parser.add_argument("--ingest", type=int, default=1, help="ingest and uvicorn processes")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--gateway-threads", type=int, default=1)
    parser.add_argument("--name", help="name of the files in results/ (latest, growth)")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.end_to_end_seconds = 2.0, 1, 4.0
        options.backlogs = QUICK_BACKLOGS
    options.seconds = options.seconds or (4.0 if options.growth else 5.0)
    options.rounds = options.rounds or (2 if options.growth else 3)
    options.name = options.name or ("growth" if options.growth else "latest")
    unknown = set(options.only.split(",")) - {"", *GROWTH_PARTS} if options.growth else ()
    if unknown:
        parser.error(f"--growth knows {', '.join(GROWTH_PARTS)}, not {', '.join(sorted(unknown))}")
    return options


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of every mesh."""
    return {
        "redis_fsync": options.fsync,
        "ingest_processes": options.ingest,
        "worker_processes": options.workers,
        "gateway_threads": options.gateway_threads,
        "redis_memory": "4gb",
    }


def _run(options: argparse.Namespace, state: Path) -> dict[str, Any]:
    settings = _settings(options)
    sluice = Sluice(state, settings)
    reference = Reference(state, settings)
    noop = Noop(state, settings)
    stacks: dict[str, Stack] = {
        each.name: each for each in (reference, sluice, noop, NoopDirect(noop))
    }
    results: dict[str, Any] = {}

    def wanted(name: str) -> bool:
        return not options.only or any(
            name == part or name.startswith(f"{part}-") for part in options.only.split(",")
        )

    try:
        for stack in stacks.values():
            stack.start()
        task_ids = {"noop": noop_service.TASK_ID}
        for stack in (sluice, reference):
            task_ids[stack.name] = _submit(stack)
        for stack in (sluice, reference, noop):
            REST.run(stack.address, WARM_UP_SECONDS)
            stack.drain(30)
        chosen = [case for case in cases(task_ids) if wanted(case.name)]
        results["cases"] = measure_cases(chosen, stacks, options.rounds, options.seconds)
        if wanted("end-to-end"):
            print("end to end ...", flush=True)
            results["end_to_end"] = {
                "reference": end_to_end(reference, REST, options.end_to_end_seconds),
                "sluice": end_to_end(sluice, BATCH, options.end_to_end_seconds),
            }
        if wanted("stored"):
            print("bytes for one interaction ...", flush=True)
            # Empty stores: what InfluxDB still compresses of the cases is more than a few rows.
            with warm_mesh(state / "stored", settings) as empty:
                results["stored"] = {
                    f"sluice, {case.title}": stored_bytes(
                        empty, case.loads[empty.name], options.seconds
                    )
                    for case in stored_cases()
                }
            results["stored"]["reference, POST /submit"] = stored_bytes(
                reference, REST, options.seconds
            )
        if options.soak:
            print("soak ...", flush=True)
            most = measure(sluice, REST, options.seconds).throughput
            results["soak"] = soak(sluice, REST, options.soak, SOAK_LOAD * most)
    finally:
        for stack in stacks.values():
            stack.stop()
    return results


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
