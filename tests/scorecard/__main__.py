"""Print the scorecard: ``python -m tests.scorecard [--misses] [--write-baseline]``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from detection.detectors import DETECTORS
from tests.scorecard.measure import HELD_OUT, TUNED, Score, corpus, default_scanner, measure, speed

BASELINE = Path(__file__).with_name("baseline.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scorecard", description=__doc__)
    parser.add_argument(
        "--misses", action="store_true", help="list what was missed or wrongly found"
    )
    parser.add_argument(
        "--write-baseline", action="store_true", help="keep this as the level to hold"
    )
    options = parser.parse_args()
    scanner = default_scanner()
    tuned, held_out = (measure(corpus(seed), scanner) for seed in (TUNED, HELD_OUT))
    print_table(tuned, held_out)
    for size in (1, 64):
        print(f"\nus per KB, {size} KB texts: ", end="")
        print(", ".join(f"{name} {value:.1f}" for name, value in speed(scanner, size).items()))
    if options.misses:
        for case in tuned.misses:
            print("MISSED", sorted(case.expected), repr(case.content)[:160])
        for case, detector in tuned.alarms:
            print("FALSE", detector, case.family, repr(case.content)[:160])
    if options.write_baseline:
        BASELINE.write_text(json.dumps(levels(tuned, held_out), indent=1, sort_keys=True) + "\n")


def print_table(tuned: Score, held_out: Score) -> None:
    print("| detector | cases | recall | precision | recall, held out | precision, held out |")
    print("|---|---:|---:|---:|---:|---:|")
    for detector in (*(each.name for each in DETECTORS), "keyword"):
        if not tuned.expected[detector]:
            continue
        print(
            f"| {detector} | {tuned.expected[detector]} | {tuned.recall(detector):.3f} "
            f"| {tuned.precision(detector):.3f} | {held_out.recall(detector):.3f} "
            f"| {held_out.precision(detector):.3f} |"
        )
    print(
        f"\nharmless texts refused: {tuned.false_alarm_rate:.2%} of {tuned.harmless}, "
        f"held out {held_out.false_alarm_rate:.2%} of {held_out.harmless}"
    )


def levels(tuned: Score, held_out: Score) -> dict[str, dict[str, float]]:
    """Return what must not fall, by corpus and detector."""
    return {
        f"{name} {what}": {
            detector: round(getattr(score, what)(detector), 4)
            for detector in sorted(score.expected)
        }
        for name, score in (("tuned", tuned), ("held out", held_out))
        for what in ("recall", "precision")
    } | {
        "false alarm rate": {
            "tuned": round(tuned.false_alarm_rate, 5),
            "held out": round(held_out.false_alarm_rate, 5),
        }
    }


if __name__ == "__main__":
    main()
