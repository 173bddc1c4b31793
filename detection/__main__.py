"""``sluice-scan``: try a policy on real data.

Reads files or standard input and prints one JSON line for each finding: where, what, how sure,
never the value; of very many in one value the first few hundred. A line that is a JSON object or
list is scanned as a submission's ``data``; any other line as a text. Exits with 0 when nothing
would be refused, 1 when something would be, 2 when a policy or a file cannot be used.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from google.protobuf import json_format, struct_pb2

from detection import (
    Finding,
    PolicyError,
    Scan,
    Scanner,
    Verdict,
    load_policy,
)
from detection.fields import walk
from detection.policy_file import packaged_policy

_DEEPEST = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="sluice-scan", description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, help="files to scan (default: standard input)"
    )
    parser.add_argument("--policy", type=Path, help="policy file (default: the packaged one)")
    parser.add_argument("--source", default="", help="the source to scan as")
    parser.add_argument(
        "--whole", action="store_true", help="scan each file as one text or JSON value, not by line"
    )
    options = parser.parse_args(arguments)
    try:
        scanner = Scanner(load_policy(options.policy) if options.policy else packaged_policy())
    except PolicyError as error:
        print(f"sluice-scan: {error}", file=sys.stderr)
        return 2
    refused = False
    try:
        for path in options.files:
            with path.open(encoding="utf-8", errors="replace") as file:
                refused |= _scan_file(
                    scanner, options.source, str(path), _texts(file, options.whole)
                )
    except OSError as error:
        print(f"sluice-scan: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    if not options.files:
        refused = _scan_file(scanner, options.source, "-", _texts(sys.stdin, options.whole))
    return int(refused)


def _texts(file: TextIO, whole: bool) -> Iterable[str]:
    return [file.read()] if whole else (line.rstrip("\r\n") for line in file)


def _scan_file(scanner: Scanner, source: str, name: str, texts: Iterable[str]) -> bool:
    refused = False
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        fields = walk(_value(text), _DEEPEST)
        scan = scanner.scan(fields, source)
        refused |= scan.verdict is Verdict.REJECT or fields.unread
        for finding, shadow in _listed(scan):
            print(json.dumps(_line(name, number, finding, shadow)))
        if fields.unread:
            _say(name, number, "nested too deeply, or a key is too long; not all of it was scanned")
        more = scan.finding_count + scan.shadow_count - len(scan.findings) - len(scan.shadow)
        if more:
            _say(name, number, f"at least {more} more findings are not listed")
    return refused


def _say(name: str, number: int, text: str) -> None:
    print(f"sluice-scan: {name}: line {number}: {text}", file=sys.stderr)


def _listed(scan: Scan) -> Iterable[tuple[Finding, bool]]:
    yield from ((finding, False) for finding in scan.findings)
    yield from ((finding, True) for finding in scan.shadow)


def _line(name: str, number: int, finding: Finding, shadow: bool) -> dict[str, object]:
    return {
        "file": name,
        "line": number,
        "detector": finding.detector,
        "kind": finding.kind.name,
        "pointer": finding.pointer,
        "start": finding.start,
        "end": finding.end,
        "confidence": finding.confidence.name,
        "action": finding.action.name,
        "shadow": shadow,
    }


def _value(text: str) -> struct_pb2.Value:
    if text.lstrip()[:1] in ("{", "["):
        value = struct_pb2.Value()
        try:
            json_format.Parse(text, value)
        except json_format.ParseError:
            pass
        else:
            return value
    return struct_pb2.Value(string_value=text)


if __name__ == "__main__":
    # As every filter: nothing is left to do when nobody reads what it finds.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
