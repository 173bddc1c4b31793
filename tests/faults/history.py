"""What callers did and were told, one JSON line each, appended to a file as it happens.

A line is written before the call is made (`invoke`) and after it ended: `ok` with the task id,
`fail` with the alert id of a refusal or with nothing when nothing was taken, `info` when the caller
cannot know. The file, and not the memory of whoever called, is what the checker believes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def digest(data: Any) -> str:
    """Return a hash that equal JSON values share."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


class History:
    """Appends to a history. Safe to share among threads and processes: a line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: str, **fields: Any) -> None:
        """Append one line."""
        os.write(self._descriptor, json.dumps({"event": event, **fields}).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@dataclass
class Submission:
    """Everything that callers know about one key."""

    kind: str
    """`accepted` or `refused`: what has to become of it if it is taken."""
    hash: str
    has_source: bool
    receipts: set[str] = field(default_factory=set)
    """Every task id or alert id that was given for it: one, if all is well."""
    unknown: int = 0
    """Calls that ended without an answer."""
    fails: int = 0
    """Calls that were told that nothing was taken."""

    @property
    def is_promised(self) -> bool:
        """Whether a caller holds a receipt."""
        return bool(self.receipts)

    @property
    def may_exist(self) -> bool:
        """Whether it may have been recorded."""
        return self.is_promised or self.unknown > 0


@dataclass
class Told:
    """A history as read back."""

    prefix: str = ""
    """What every key of it begins with."""
    canary: str = ""
    """A text that is in every payload and must be in no log."""
    submissions: dict[str, Submission] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    """Answers that no fault excuses."""


def read(path: Path) -> Told:
    """Read a history. Its last line may be torn when its writer was killed."""
    told = Told()
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        event = line["event"]
        if event == "start":
            told.prefix, told.canary = line["prefix"], line["canary"]
            continue
        if event == "surprise":
            told.surprises.append(f"{line['key']}: {line['what']}")
            continue
        key = line["key"]
        if event == "invoke":
            told.submissions.setdefault(
                key, Submission(line["kind"], line["hash"], line["has_source"])
            )
            continue
        submission = told.submissions[key]
        if event == "info":
            submission.unknown += 1
        elif line.get("receipt"):
            submission.receipts.add(line["receipt"])
        else:
            submission.fails += 1
    # A call without an outcome is a caller that died: it cannot know either.
    for submission in told.submissions.values():
        if not submission.is_promised and not submission.fails:
            submission.unknown = max(submission.unknown, 1)
    return told
