"""The check of the contracts on a machine that lacks what it would use."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_without_git_the_contracts_are_linted_and_not_compared(tmp_path: Path) -> None:
    buf = tmp_path / "buf"
    buf.write_text("#!/bin/sh\necho $1\n")
    buf.chmod(0o700)
    done = subprocess.run(
        [sys.executable, ROOT / "protos" / "check.py"],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        "contracts: linted; there is no git to compare them with the commit before",
        "lint",
    ]
