"""Runs rows of the fault table and prints what came of them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import Stage
from tests.kit.processes import OUR_CODE, ROOT

DRAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What came of one run of one row."""

    row: Row
    seed: int
    verdict: dict[str, Any]
    recovery: float | None
    """Seconds until all was well again, None when it never was."""
    problems: list[str]

    @property
    def is_green(self) -> bool:
        """Whether every promise was kept, and in time."""
        return bool(self.verdict.get("green")) and not self.problems

    def explain(self) -> str:
        """Return what was wrong, for people."""
        wrong = [
            f"{name}: {', '.join(found[:5])}{' …' if len(found) > 5 else ''} ({len(found)})"
            for name, found in self.verdict.items()
            if isinstance(found, list) and found and name != "kept"
        ]
        return "; ".join([*self.problems, *wrong]) or "all promises kept"


def run_row(stage: Stage, row: Row, seed: int) -> Outcome:
    """Load the mesh, strike, wait until it has recovered and come to rest, and have it judged."""
    scene = Scene(stage, row.name, seed)
    recovery: float | None = None
    try:
        if row.rate:
            scene.start_load(row.rate)
            scene.a_moment()
        row.strike(scene)
        recovery = scene.await_recovery(row.bound)
        if recovery > row.bound:
            scene.problems.append(f"recovered after {recovery:.1f} s, not within {row.bound:.0f}")
        scene.stop_load()
        if row.no_call_fails:
            scene.expect(not scene.count("info"), f"{scene.count('info')} calls failed")
        scene.until(scene.is_drained, "the queues did not drain", DRAIN_SECONDS)
    except AssertionError as error:
        scene.problems.append(str(error))
    except Exception as error:
        scene.problems.append(f"{type(error).__name__}: {error}")
    finally:
        scene.stop_load()
    verdict = judge(stage.state, scene.path, row.dead_letters)
    if row.clean is not None:
        row.clean(scene, verdict)
    if stage.redis_proxy and stage.influx_proxy:
        stage.redis_proxy.forgive()
        stage.influx_proxy.forgive()
    scene.end()
    return Outcome(row, seed, verdict, recovery, scene.problems)


def judge(state: Path, history: Path, dead_letters: int | None = 0) -> dict[str, Any]:
    """Return the verdict of the checker, which is a process of its own."""
    command = [sys.executable, "-m", "tests.faults.checker", str(state), str(history)]
    if dead_letters is not None:
        command += ["--dead-letters", str(dead_letters)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | OUR_CODE, capture_output=True, text=True, timeout=120
    )
    if not done.stdout:
        return {"green": False, "checker": [done.stderr.strip()[-500:]]}
    verdict: dict[str, Any] = json.loads(done.stdout)
    assert verdict["green"] == (done.returncode == 0)
    return verdict


def run_rows(
    rows: Sequence[Row], seeds: Sequence[int], tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run rows, those of one kind of mesh on one mesh, and tell each outcome as it comes.

    A mesh on which a row went red serves no further row.
    """
    outcomes = []
    for _, group in _by_stage(rows):
        runs = iter([(row, seed) for row in group for seed in seeds])
        ahead = next(runs, None)
        while ahead is not None:
            with tempfile.TemporaryDirectory(prefix="faults-") as folder:
                stage = Stage(Path(folder), ahead[0].kind)
                stage.start()
                try:
                    while ahead is not None:
                        outcome = run_row(stage, *ahead)
                        outcomes.append(outcome)
                        tell(outcome)
                        spent = ahead[0].spends_the_mesh or not outcome.is_green
                        ahead = next(runs, None)
                        if spent:
                            break
                finally:
                    stage.stop()
    return outcomes


def _by_stage(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    ordered = sorted(rows, key=lambda row: row.kind.name)
    for name, group in itertools.groupby(ordered, key=lambda row: row.kind.name):
        yield name, list(group)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of all rows that were run."""
    line = "{:<32} {:>5} {:>8} {:>7} {:>7} {:>5} {:>7} {:>6} {:>16}  {}"
    texts = [
        line.format(
            *("fault", "seeds", "accepted", "refused", "unknown", "lost", "doubled", "leaked"),
            *("recovered (s)", ""),
        )
    ]
    for name, group in itertools.groupby(outcomes, key=lambda outcome: outcome.row.name):
        runs = list(group)

        def total(what: str, runs: list[Outcome] = runs) -> int:
            found = [run.verdict.get(what, 0) for run in runs]
            return sum(each if isinstance(each, int) else len(each) for each in found)

        times = [run.recovery for run in runs if run.recovery is not None]
        longest = f"{max(times):.1f}" if len(times) == len(runs) else "never"
        texts.append(
            line.format(
                name,
                len(runs),
                total("accepted"),
                total("refused"),
                total("unknown"),
                total("lost"),
                total("doubled"),
                total("leaked"),
                f"{longest} of {runs[0].row.bound:.0f}",
                "green" if all(run.is_green for run in runs) else "RED",
            )
        )
    return "\n".join(texts)
