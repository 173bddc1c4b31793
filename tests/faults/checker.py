"""Judges what a mesh has kept against what its callers were told.

`python -m tests.faults.checker STATE HISTORY [--dead-letters N]` reads the history, InfluxDB, the
report files, Redis and every log, and nothing from the memory of whoever struck the fault. STATE
holds `faults.json`, which says where all that is. Prints the verdict as JSON; exit status 1 is red.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import redis
from dramatiq.common import dq_name

from job_store.counts import CountsReader
from job_store.keys import INTERACTIONS, QUEUES, Keys
from sluice.job.v1.job_pb2 import JobRecord, LogInteractions
from sluice.queue.v1.envelope_pb2 import Envelope
from tests.faults import history
from tests.faults.load import SECRET
from tests.kit import influxdb
from tests.kit.redis_cluster import look_at
from tests.kit.spellings import spellings


@dataclass
class Verdict:
    """What was found. All but `accepted`, `refused`, `kept` and `unknown` must be empty."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    kept: list[str] = field(default_factory=list)
    """Promised, refused by the database, and in a dead letter: for a person to replay."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Rows and reports that nobody sent, or that were not to be, or that hold something else."""
    unreported: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    undrained: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    @property
    def is_green(self) -> bool:
        """Whether every promise was kept."""
        return not any(
            (
                self.lost,
                self.doubled,
                self.strange,
                self.unreported,
                self.leaked,
                self.undrained,
                self.books,
                self.surprises,
            )
        )


@dataclass(frozen=True)
class Places:
    """Where a mesh keeps things."""

    redis_url: str
    redis_partitions: int | None
    influx_url: str
    influx_headers: Mapping[str, str]
    """What lets one read it."""
    reports: Path
    logs: Path

    def write(self, state: Path) -> None:
        """Leave them in a state directory for the checker."""
        path = state / "faults.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, state: Path) -> Places:
        """Return what `write` left."""
        found = json.loads((state / "faults.json").read_text())
        paths = {name: Path(found[name]) for name in ("reports", "logs")}
        return cls(**(found | paths))


def check(places: Places, path: Path, dead_letters: int | None) -> Verdict:
    """Return the verdict on the keys of one history, and on the books of the whole mesh."""
    told = history.read(path)
    verdict = Verdict(surprises=told.surprises)
    client, partitions = look_at(places.redis_url, places.redis_partitions)
    rows = recorded(places.influx_url, places.influx_headers)
    _check_rows(told, rows, set(_dead_keys(client, partitions)), verdict)
    _check_times(rows, verdict)
    _check_reports(told, places.reports, verdict)
    _check_receipts(told, verdict)
    _check_queues(client, partitions, dead_letters, verdict)
    _check_books(client, partitions, len(rows), verdict)
    verdict.leaked += _leaks(places.logs, (told.canary, SECRET))
    return verdict


def _check_rows(
    told: history.Told, rows: list[dict[str, Any]], dead_keys: set[str], verdict: Verdict
) -> None:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        key = _key_in(json.loads(row["payload"]))
        if key.startswith(told.prefix):
            found[key].append(row)
    for key, submission in told.submissions.items():
        here = found.pop(key, [])
        if submission.kind == "accepted":
            verdict.accepted += submission.is_promised
        else:
            verdict.refused += submission.is_promised
        verdict.unknown += not submission.is_promised and submission.unknown > 0
        if len(here) > 1:
            verdict.doubled.append(f"{key}: {len(here)} rows")
        if submission.is_promised and not here:
            (verdict.kept if key in dead_keys else verdict.lost).append(key)
        if here and not submission.may_exist:
            verdict.strange.append(f"{key}: a row, though callers were told that it was not taken")
        verdict.strange += [f"{key}: {what}" for row in here for what in _misfits(row, submission)]
    verdict.strange += [f"{key}: a row that nobody sent" for key in found]


def _misfits(row: dict[str, Any], submission: history.Submission) -> Iterator[str]:
    data = json.loads(row["payload"])
    if row["verdict"] != {"accepted": "accepted", "refused": "rejected"}[submission.kind]:
        yield "recorded with the wrong verdict"
    if submission.kind == "accepted":
        if history.digest(data) != submission.hash:
            yield "recorded with another value"
        receipt = row["task_id"]
    else:
        if SECRET in row["payload"]:
            yield "recorded with the secret"
        receipt = row.get("alert_id")
    if submission.is_promised and receipt not in submission.receipts:
        yield "recorded under another receipt"


def _check_times(rows: list[dict[str, Any]], verdict: Verdict) -> None:
    """Of one verdict two rows of one time are one; of two they are there, and still must not be."""
    if shared := len(rows) - len({row["time"] for row in rows}):
        verdict.books.append(f"{shared} rows share the time of another")


def _check_reports(told: history.Told, folder: Path, verdict: Verdict) -> None:
    found: Counter[str] = Counter()
    for path in folder.glob("alert_*.txt"):
        try:
            report = json.loads(path.read_text())
        except ValueError:
            verdict.strange.append(f"{path.name}: no whole report")
            continue
        payload = report.get("payload")
        key = _key_in(payload)
        if not key.startswith(told.prefix):
            continue
        found[key] += 1
        submission = told.submissions.get(key)
        if submission is None or submission.kind != "refused":
            verdict.strange.append(f"{key}: a report that was not to be")
            continue
        if history.digest(payload) != submission.hash:
            verdict.strange.append(f"{key}: a report with another value")
        if submission.is_promised and report["alert"]["alert_id"] not in submission.receipts:
            verdict.strange.append(f"{key}: a report under another alert id")
    for key, submission in told.submissions.items():
        if submission.kind == "refused" and submission.is_promised and not found[key]:
            verdict.unreported.append(key)
    verdict.doubled += [f"{key}: {count} reports" for key, count in found.items() if count > 1]


def _check_receipts(told: history.Told, verdict: Verdict) -> None:
    for key, submission in told.submissions.items():
        if len(submission.receipts) > 1:
            verdict.doubled.append(f"{key}: {len(submission.receipts)} receipts")


def _check_queues(
    client: redis.Redis, partitions: Sequence[Keys], dead_letters: int | None, verdict: Verdict
) -> None:
    dead = 0
    for keys, queue in itertools.product(partitions, QUEUES):
        for name, size in (
            ("queue", client.llen(keys.waiting(queue))),
            ("messages", client.hlen(keys.messages(queue))),
            ("delayed queue", client.llen(keys.waiting(dq_name(queue)))),
            ("delayed messages", client.hlen(keys.messages(dq_name(queue)))),
        ):
            if size:
                verdict.undrained.append(f"{queue}: {name} holds {size}")
        dead += client.zcard(keys.dead(queue))
    for keys in partitions:
        for key in client.scan_iter(keys.fetched("*", "*")):
            verdict.undrained.append(f"unacked set holds {client.scard(key)}")
    if dead_letters is not None and dead != dead_letters:
        verdict.undrained.append(f"{dead} dead letters where {dead_letters} belong")


def _check_books(
    client: redis.Redis, partitions: Sequence[Keys], rows: int, verdict: Verdict
) -> None:
    """Each partition adds up for itself; what is written is the same as what all rows are."""
    written = 0
    for keys in partitions:
        counts = CountsReader(client, keys).counts()
        still_open = sum(int(each) for each in cast(list[bytes], client.hvals(keys.open_jobs)))
        if counts.accepted != counts.written + counts.failed + still_open:
            verdict.books.append(
                f"accepted {counts.accepted} is not written {counts.written} + failed "
                f"{counts.failed} + open {still_open}"
            )
        if still_open:
            verdict.undrained.append(f"{still_open} interactions are open")
        written += counts.written
    if rows != written:
        verdict.books.append(f"InfluxDB holds {rows} rows where {written} are counted as written")


def _dead_keys(client: redis.Redis, partitions: Sequence[Keys]) -> Iterator[str]:
    """Yield the keys that lie failed in a dead letter."""
    for keys in partitions:
        messages = cast(dict[bytes, bytes], client.hgetall(keys.dead_messages(INTERACTIONS)))
        for message in messages.values():
            try:
                job = LogInteractions.FromString(Envelope.FromString(message).payload)
            except Exception:  # noqa: S112
                # Poison: put there by a test, and holds no submission.
                continue
            stored = cast(bytes | None, client.hget(*keys.record(job.job_id)))
            for failure in JobRecord.FromString(stored or b"").failures:
                fields = job.interactions[failure.index].data.struct_value.fields
                yield fields["key"].string_value


def recorded(influx_url: str, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every recorded interaction."""
    statement = "SELECT * FROM interactions WHERE verdict = 'accepted' OR verdict = 'rejected'"
    return influxdb.query(influx_url, headers, statement)


def reported(folder: Path) -> Iterator[str]:
    """Yield the key of every report."""
    for path in folder.glob("alert_*.txt"):
        yield _key_in(json.loads(path.read_text()).get("payload"))


def _key_in(data: Any) -> str:
    return str(data.get("key", "")) if isinstance(data, dict) else ""


def _leaks(logs: Path, secrets: Iterable[str]) -> list[str]:
    """Return the logs that hold one of the texts, plainly or encoded."""
    marks = {mark for secret in secrets if secret for mark in spellings(secret).values()}
    found = []
    for path in sorted(logs.iterdir()):
        content = path.read_bytes()
        if any(mark in content for mark in marks):
            found.append(path.name)
    return found


def main() -> int:
    """Print the verdict and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker", description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("history", type=Path)
    parser.add_argument("--dead-letters", type=int, help="how many there are to be; default: any")
    options = parser.parse_args()
    verdict = check(Places.read(options.state), options.history, options.dead_letters)
    print(json.dumps({"green": verdict.is_green, **asdict(verdict)}))
    return 0 if verdict.is_green else 1


if __name__ == "__main__":
    sys.exit(main())
