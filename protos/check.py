"""Checks the contracts by buf's rules, offline: `python protos/check.py`, with `buf` on PATH.

Lints the generated descriptor set, and compares it with that of the commit before, so that no
commit breaks clients unnoticed. A commit that is meant to break them has a line
`Breaks-Contract: <why>` in its message.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from generate import GENERATED, PROTOS, generate

CONFIG = PROTOS / "buf.yaml"
DESCRIPTORS = GENERATED / "sluice.binpb"
INTENDED = "\nBreaks-Contract: "


def main() -> None:
    """Exit 0 when the contracts keep the rules; otherwise print what buf says."""
    buf = shutil.which("buf")
    if buf is None:
        sys.exit("buf is not on PATH: run `make check`, which brings it")
    run_buf(buf, "lint", str(DESCRIPTORS))
    if shutil.which("git") is None:
        print("contracts: linted; there is no git to compare them with the commit before")
        return
    # With uncommitted contracts HEAD is the commit before; otherwise it is HEAD's parent.
    dirty = git("status", "--porcelain", "--", "*.proto").strip()
    before = "HEAD" if dirty else "HEAD~1"
    if not dirty and INTENDED in "\n" + git("log", "-1", "--format=%B").decode():
        print("contracts: the break is meant, as the commit says")
        return
    archive = git("archive", before, "--", "sluice")
    if not archive:
        print("contracts: linted; there is no earlier commit to compare with")
        return
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(scratch, filter="data")
        generated = Path(scratch, "gen")
        generated.mkdir()
        generate(generated, protos=Path(scratch))
        run_buf(buf, "breaking", str(DESCRIPTORS), "--against", str(generated / "sluice.binpb"))
    print("contracts: linted, and compatible with the commit before")


def run_buf(buf: str, verb: str, *arguments: str) -> None:
    """Run buf and exit with its code when it finds something."""
    code = subprocess.run([buf, verb, *arguments, "--config", str(CONFIG)]).returncode
    if code:
        sys.exit(code)


def git(*arguments: str) -> bytes:
    """Return what git prints, nothing when it fails (a clone may have no earlier commit)."""
    return subprocess.run(["git", *arguments], cwd=PROTOS, capture_output=True).stdout


if __name__ == "__main__":
    main()
