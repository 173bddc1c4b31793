"""The command `sluice`: submit, scan, status, watch.

It ends with 0 when everything was accepted, with 1 when something was refused or has no answer, and
with 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf import json_format
from google.protobuf.message import Message

from sluice.ingest.v1.ingest_service_pb2 import TASK_STATE_SUCCEEDED
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED
from sluice_client.client import Client
from sluice_client.errors import InvalidValue, Refused, SluiceError, Unanswered
from sluice_client.outcomes import Receipt
from sluice_client.pieces import new_request_id

WINDOW = 5000
"""Lines that may be without an answer at one moment."""
BEAT_SECONDS = 0.2
LETTERS = str.maketrans("0123456789", "abcdefghij")
MARK_BYTES = 4096
RETENTION_SECONDS = 23 * 3600
"""For so long a batch is taken up where it ended: the server knows request ids for a day."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _options(arguments)
    try:
        with Client(options.target, deadline=options.deadline) as client:
            status: int = options.do(client, options)
            return status
    except BrokenPipeError:
        # Whoever read the output has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except SluiceError as error:
        print(f"sluice: {error}", file=sys.stderr)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sluice", description="Talks to Sluice.")
    parser.add_argument(
        "--target",
        default=os.environ.get("SLUICE_TARGET", "localhost:8001"),
        help="host:port of the gateway ($SLUICE_TARGET, localhost:8001)",
    )
    parser.add_argument(
        "--deadline", type=float, default=60.0, help="seconds to wait for an answer (60)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    submit = commands.add_parser("submit", help="submit an event, or a file of them")
    submit.add_argument("data", nargs="?", help="the event as JSON, - to read it from the input")
    submit.add_argument("--source", help="who sends it")
    submit.add_argument("--request-id", help="makes it safe to run this command again")
    submit.add_argument(
        "--batch",
        type=Path,
        metavar="FILE",
        help="submit each line of FILE, a JSON value; run it again to go on where it ended",
    )
    submit.add_argument(
        "--refusals",
        type=Path,
        metavar="FILE",
        help="where to write which lines were refused and why (FILE.refused.ndjson)",
    )
    submit.set_defaults(do=_submit, parser=submit)
    scan = commands.add_parser("scan", help="tell what would be refused, and record nothing")
    scan.add_argument("data", help="the event as JSON, - to read it from the input")
    scan.add_argument("--source", default="")
    scan.set_defaults(do=_scan, parser=scan)
    status = commands.add_parser("status", help="tell where a task stands")
    status.add_argument("task_id")
    status.set_defaults(do=_status)
    watch = commands.add_parser("watch", help="tell where a task stands, until it is final")
    watch.add_argument("task_id")
    watch.set_defaults(do=_watch)
    options = parser.parse_args(arguments)
    if options.do is _submit and (options.data is None) is (options.batch is None):
        submit.error("name either the event or --batch FILE")
    return options


def _submit(client: Client, options: argparse.Namespace) -> int:
    if options.batch is not None:
        return _Batch(client, options).run()
    data = _json(options)
    receipt = client.submit_now(data, source=options.source, request_id=options.request_id)
    print(receipt.task_id)
    return 0


def _scan(client: Client, options: argparse.Namespace) -> int:
    answer = client.scan(_json(options), source=options.source, timeout=options.deadline)
    _print(answer)
    return 0 if answer.verdict == VERDICT_ACCEPTED else 1


def _status(client: Client, options: argparse.Namespace) -> int:
    _print(client.status(options.task_id, timeout=options.deadline))
    return 0


def _watch(client: Client, options: argparse.Namespace) -> int:
    state = None
    for task in client.watch(options.task_id):
        _print(task)
        state = task.state
    return 0 if state == TASK_STATE_SUCCEEDED else 1


def _json(options: argparse.Namespace) -> object:
    text = sys.stdin.read() if options.data == "-" else options.data
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        parser: argparse.ArgumentParser = options.parser
        parser.error("this is no JSON; a text has quotes, as in '\"hello\"'")


def parsed(text: str | bytes) -> object:
    """Return the value of a JSON text. Raises ValueError, also for NaN."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(_name: str) -> object:
    raise ValueError("no JSON")


def _print(message: Message) -> None:
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, indent=None, ensure_ascii=False
    )
    print(text, flush=True)


class _Batch:
    """Submits the lines of a file, each under a request_id of its own that a later run uses again.

    A journal beside the file says how far it got. Lines of which that is not known are submitted
    again, as long as the server knows their request_ids.
    """

    def __init__(self, client: Client, options: argparse.Namespace) -> None:
        self._client = client
        self._file: Path = options.batch
        self._source: str | None = options.source
        self._refusals_file: Path = options.refusals or Path(f"{self._file}.refused.ndjson")
        self._journal = Path(f"{self._file}.journal")
        self._kept: dict[str, Any] = {
            "mark": "",
            "run": new_request_id(),
            "begun": time.time(),
            "size": 0,
            "done": 0,
            "offset": 0,
            "sent": 0,
            "told": 0,
            "accepted": 0,
            "failed": 0,
        }
        """`done` lines have their outcomes and end at `offset`, what is told of them at `told` in
        the file of refusals; lines up to `sent` may be submitted. `size` is that of the file, and
        `mark` tells its content from that of another one."""
        self._waiting: deque[tuple[int, int, Future[Receipt] | SluiceError]] = deque()
        self._next_word = 0.0

    def run(self) -> int:
        """Submit what is left; return the exit status."""
        try:
            with self._file.open("rb") as lines:
                if not self._resume(self._file.stat().st_size):
                    print(
                        f"sluice: {self._journal} is of another file: bring that back to go on, or"
                        " delete the journal to begin at the first line",
                        file=sys.stderr,
                    )
                    return 2
                self._refusals_file.touch()
                with self._refusals_file.open("r+") as self._refusals:
                    self._refusals.truncate(self._kept["told"])
                    self._refusals.seek(0, os.SEEK_END)
                    try:
                        self._submit(lines)
                    except Unanswered as error:
                        self._keep()
                        self._say(is_last=True)
                        print(f"sluice: {error}; run it again to go on", file=sys.stderr)
                        return 1
            self._journal.unlink(missing_ok=True)
        except OSError as error:
            # A pipe, which cannot be read twice, raises an error that names no file.
            problem = error.strerror or "it cannot be read"
            print(f"sluice: {error.filename or self._file}: {problem}", file=sys.stderr)
            return 2
        self._say(is_last=True)
        if not self._kept["failed"]:
            self._refusals_file.unlink()
            return 0
        print(f"sluice: see {self._refusals_file}", file=sys.stderr)
        return 1

    def _resume(self, size: int) -> bool:
        """Take up what an earlier run left; return False when that was of another file.

        To go on would leave out lines of this one, to begin anew could submit some twice.
        """
        kept = self._kept
        kept["size"] = size
        try:
            earlier = json.loads(self._journal.read_text())
        except FileNotFoundError:
            return True
        except ValueError:
            return False
        if earlier.keys() != kept.keys() or earlier["size"] > size:
            return False
        kept.update(earlier)
        is_same: bool = kept["mark"] == self._mark()
        kept["size"] = size
        return is_same

    def _mark(self) -> str:
        """Tell how the file begins, and what stands before what is left."""
        kept = self._kept
        with self._file.open("rb") as lines:
            head = lines.read(min(kept["size"], MARK_BYTES))
            lines.seek(max(kept["offset"] - MARK_BYTES, 0))
            tail = lines.read(min(kept["offset"], MARK_BYTES))
        return hashlib.sha256(head + tail).hexdigest()

    def _submit(self, lines: BinaryIO) -> None:
        """Submit the lines that are left. Raises Unanswered when one is not answered."""
        kept = self._kept
        number, end = kept["done"], kept["offset"]
        lines.seek(end)
        forgotten = 0
        if not 0 <= time.time() - kept["begun"] < RETENTION_SECONDS:
            forgotten = kept["sent"]
            kept["begun"], kept["run"] = time.time(), new_request_id()
        for line in lines:
            number += 1
            end += len(line)
            if number > kept["sent"]:
                kept["sent"] = number + WINDOW
                self._keep()
            if not line.strip():
                continue
            self._waiting.append(
                (
                    number,
                    end,
                    SluiceError("an earlier run may have submitted it; it is not sent again")
                    if number <= forgotten
                    else self._begin(number, line),
                )
            )
            self._settle(WINDOW)
        self._settle(0)

    def _begin(self, number: int, line: bytes) -> Future[Receipt] | SluiceError:
        # In letters: digits could be taken for the number of something.
        name = f"{self._kept['run']}-{str(number).translate(LETTERS)}"
        try:
            return self._client.submit(parsed(line), source=self._source, request_id=name)
        except InvalidValue as error:
            return error
        except (ValueError, RecursionError):
            return SluiceError("the line is no JSON")

    def _settle(self, most: int) -> None:
        """Note outcomes, in order, until at most so many are left."""
        kept, waiting = self._kept, self._waiting
        while waiting:
            number, end, outcome = waiting[0]
            if isinstance(outcome, Future):
                if len(waiting) <= most and not outcome.done():
                    break
                error = outcome.exception()
                if isinstance(error, Unanswered):
                    raise error
            else:
                error = outcome
            waiting.popleft()
            kept["done"], kept["offset"] = number, end
            if error is None:
                kept["accepted"] += 1
            else:
                kept["failed"] += 1
                self._refusals.write(json.dumps(_told(number, error)) + "\n")
            if time.monotonic() > self._next_word:
                self._next_word = time.monotonic() + BEAT_SECONDS
                self._keep()
                self._say()

    def _keep(self) -> None:
        """Write the journal, whole or not at all, once what it speaks of is written."""
        self._refusals.flush()
        self._kept["told"] = self._refusals.tell()
        self._kept["mark"] = self._mark()
        aside = Path(f"{self._journal}.new")
        aside.write_text(json.dumps(self._kept))
        aside.replace(self._journal)

    def _say(self, is_last: bool = False) -> None:
        """Show how far it is: one line, which a person sees grow."""
        is_seen = sys.stderr.isatty()
        if not (is_last or is_seen):
            return
        kept = self._kept
        share = kept["offset"] * 100 // max(kept["size"], 1)
        text = f"{share:3}%  {kept['accepted']:,} accepted, {kept['failed']:,} not"
        start, end = "\r" * is_seen, "\n" * is_last
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def _told(line: int, error: BaseException) -> dict[str, Any]:
    """Return what is told of a line that was not accepted: where and why, never what."""
    told: dict[str, Any] = {"line": line, "error": str(error)}
    if isinstance(error, Refused):
        told |= {
            "error": error.reason,
            "alert_id": error.alert_id,
            "detectors": list(error.detectors),
            "fields": [{"path": each.path, "reason": each.reason} for each in error.fields],
        }
    return told


if __name__ == "__main__":
    sys.exit(main())
