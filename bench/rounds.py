"""Measures cases in alternated rounds, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cases import Case
from bench.loads import LoadFailed
from bench.measuring import Measurement, measure, summary
from bench.stacks import Stack

RECOVERY_SECONDS = 3.0
"""After a round in which no call succeeded: the gateway takes back what it took for dead."""


def measure_cases(
    chosen: Sequence[Case], stacks: Mapping[str, Stack], rounds: int, seconds: float
) -> dict[str, Any]:
    """Measure each case on its stacks in turn, every other round in the reverse order.

    A case's stacks that are not in `stacks` are left out.
    """
    told = {}
    for case in chosen:
        found: dict[str, list[Measurement]] = defaultdict(list)
        refused: dict[str, int] = defaultdict(int)
        order = [name for name in case.loads if name in stacks]
        for number in range(rounds):
            for name in order if number % 2 == 0 else reversed(order):
                try:
                    seen = measure(stacks[name], case.loads[name], seconds)
                except LoadFailed as error:
                    print(f"{case.name:14} {name:12} {error}", flush=True)
                    refused[name] += 1
                    time.sleep(RECOVERY_SECONDS)
                    continue
                found[name].append(seen)
                print(
                    f"{case.name:14} {name:12} {seen.throughput:10,.0f}/s  p99 "
                    f"{seen.p99_ms:8.1f} ms  CPU {sum(seen.cpu.values()):.3f} s per 1,000",
                    flush=True,
                )
        told[case.name] = {
            "title": case.title,
            "stacks": {name: summary(found[name]) for name in order if found[name]},
            "rounds_without_success": dict(refused),
        }
    return told
