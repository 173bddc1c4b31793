"""Fuzzes a mesh of its own: `python -m tests.fuzz --inputs 10000`.

Exits 1 when a rule is broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.fuzzing import MAX_GROWTH_BYTES, Fuzzer, fuzzer_of, mesh_to_fuzz

MEBIBYTE = 1024 * 1024


def main() -> None:
    """Fuzz every surface with its share of the inputs, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many, on all surfaces")
    parser.add_argument("--seed", type=int, help="repeats the run that printed it")
    chosen = parser.parse_args()
    start = random.randrange(2**32) if chosen.seed is None else chosen.seed
    print(f"seed {start}")
    with tempfile.TemporaryDirectory(prefix="sluice-fuzz-") as state:
        mesh = mesh_to_fuzz(Path(state))
        try:
            mesh.start()
            with fuzzer_of(mesh) as fuzzer:
                well = fuzz(fuzzer, chosen.inputs, start)
        finally:
            mesh.stop()
    sys.exit(0 if well else 1)


def fuzz(fuzzer: Fuzzer, count: int, start: int) -> bool:
    """Return whether every rule was kept."""
    shares = {
        fuzzer.rest: 0.32,
        fuzzer.raw_bytes: 0.2,
        fuzzer.value_trees: 0.1,
        fuzzer.streams: 0.1,
        fuzzer.repetitions: 0.06,
        fuzzer.odd_submissions: 0.2197,
        # Each holds thousands of submissions.
        fuzzer.large_batches: 0.0003,
    }
    # What is odd must not find the memory that it takes taken already.
    for surface in (fuzzer.rest, fuzzer.raw_bytes, fuzzer.value_trees, fuzzer.streams):
        surface(max(1, count // 100), start + 1)
    memory, started = fuzzer.memory(), fuzzer.restarts()
    well = True
    for surface, share in shares.items():
        part = max(1, round(count * share))
        begun = time.monotonic()
        try:
            surface(part, start)
            outcome = "kept every rule"
        except AssertionError:
            traceback.print_exc()
            outcome, well = "BROKE A RULE", False
        seconds = time.monotonic() - begun
        print(f"{surface.__name__:15} {part:>7} inputs {seconds:6.1f} s  {outcome}")
    grown = fuzzer.memory() - memory
    print(f"memory of ingest: {memory // MEBIBYTE} MiB at first, {grown // MEBIBYTE:+} MiB at most")
    if grown > MAX_GROWTH_BYTES or fuzzer.restarts() != started:
        print("BROKE A RULE: memory grew without bound, or a program died")
        well = False
    return well


if __name__ == "__main__":
    main()
