"""`python -m tests.faults --seeds 3 --rows name,name`: run rows of the fault table and print it."""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.runner import Outcome, run_rows, table
from tests.faults.table import ROWS


def main() -> int:
    """Run, print the table, and return 1 when any row is red."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--first-seed", type=int, default=1, help="to repeat a run that went red")
    parser.add_argument(
        "--rows", default="", help="names, with commas; default: all that run by default"
    )
    parser.add_argument("--list", action="store_true", help="say which rows there are")
    options = parser.parse_args()
    rows = {row.name: row for row in ROWS}
    if options.list:
        for row in ROWS:
            print(f"{row.name:<32} {row.what}")
        return 0
    names = [name for name in options.rows.split(",") if name] or [
        row.name for row in ROWS if not row.only_by_name
    ]
    if unknown := [name for name in names if name not in rows]:
        parser.error(f"there is no row {', '.join(unknown)}; --list says which there are")

    def tell(outcome: Outcome) -> None:
        color = "green" if outcome.is_green else "RED"
        print(f"{color:<6} {outcome.row.name} seed {outcome.seed}: {outcome.explain()}", flush=True)

    begun = time.monotonic()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    outcomes = run_rows([rows[name] for name in names], seeds, tell)
    print(f"\n{table(outcomes)}\n\n{time.monotonic() - begun:.0f} s")
    return 0 if all(outcome.is_green for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
