"""`python -m worker.reconciliation`: audits the mesh that the worker's settings describe.

Prints the counts and every difference. Exit status: 0 they balance, 1 they differ, 2 Redis or the
sink could not be asked.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime

import redis

from job_store.errors import NotDurable
from job_store.partitions import Partitions
from mesh.console import ignore_output_errors
from mesh.health import Unhealthy
from worker.reconciliation.compare import Report, audit
from worker.reconciliation.ledger import Ledger
from worker.reconciliation.snapshots import Snapshots
from worker.settings import WorkerSettings
from worker.sinks.influxdb.reader import InfluxDBReader
from worker.sinks.sink import SinkReader
from worker.waiting import Outage

BALANCED, DIFFERENT, UNKNOWN = range(3)

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.reconciliation", description=__doc__)
    parser.add_argument(
        "--since",
        type=_ago,
        metavar="AGE",
        help="compare jobs accepted within the last 30m, 12h or 7d; default: all with a record",
    )
    options = parser.parse_args(arguments)
    settings = WorkerSettings.load()
    partitions = Partitions.of(settings)
    sink: SinkReader = InfluxDBReader(settings)
    try:
        # With another number, only a part of the jobs would be seen.
        partitions.require_agreement(may_decide=False)
        with closing(Ledger()) as ledger:
            report = audit(Snapshots(partitions), sink, ledger, options.since)
    except NotDurable as error:
        return _unknown(f"Redis is not fit to be audited: {error}.")
    except Unhealthy as error:
        return _unknown(f"Nothing was compared: {error}.")
    except redis.RedisError as error:
        name = type(error).__name__
        return _unknown(f"Redis does not answer ({name}): check SLUICE_REDIS_URL.")
    except Outage as outage:
        return _unknown(f"{sink.title} does not answer ({outage.reason}): {outage.advice}")
    except sqlite3.Error:
        return _unknown("There is no room for a temporary file: set SQLITE_TMPDIR to another disk.")
    print("\n".join(_printed(report)))
    return BALANCED if report.is_balanced else DIFFERENT


def _unknown(line: str) -> int:
    print(line, file=sys.stderr)
    return UNKNOWN


def _printed(report: Report) -> Iterator[str]:
    totals = report.totals
    states = ", ".join(f"{count:,} {state}" for state, count in report.message_states.items())
    since = ""
    if report.since is not None:
        moment = datetime.fromtimestamp(report.since, UTC)
        since = f"accepted since {moment:%Y-%m-%d %H:%M:%S} UTC"
    rows = ""
    if report.contents.retention_seconds:
        rows = f"dropped after {report.contents.retention_seconds // 3600:,} h"
    elif report.is_balanced and report.contents.rows < totals.written:
        rows = "counted a moment earlier"
    table: list[tuple[str, int, str]] = [
        ("accepted", totals.accepted, ""),
        ("written", totals.written, ""),
        ("failed", totals.failed, ""),
        ("in flight", totals.in_flight, f"jobs: {states}" if totals.in_flight else ""),
        ("difference", totals.difference, ""),
        (f"rows in {report.sink}", report.contents.rows, rows),
        ("jobs compared", report.compared, since),
        ("jobs that differ", report.differing, ""),
    ]
    for name, number, remark in table:
        yield f"{name:<18}{number:>14,}  {remark}".rstrip()
    yield ""
    for job_id, how in report.named:
        yield f"{job_id}  {how}"
    if report.differing > len(report.named):
        yield f"and {report.differing - len(report.named):,} more jobs"
    yield from report.complaints
    yield from report.notes
    yield "The counts agree." if report.is_balanced else "The counts differ."


def _ago(text: str) -> float:
    """Return the moment that lies so far back, in seconds since the Unix epoch."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError("say a number and s, m, h or d, for example 12h")
    return time.time() - int(match[1]) * UNITS[match[2]]


if __name__ == "__main__":
    ignore_output_errors()
    sys.exit(main(sys.argv[1:]))
