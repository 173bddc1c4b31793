"""The ingest service as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_bad_policy_at_the_start_is_said_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\naction: CANARY\n")
    done = subprocess.run(
        [sys.executable, "-m", "ingest_service"],
        env=os.environ | {"SLUICE_POLICY_FILE": str(path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("SLUICE_POLICY_FILE: line 2: action: Input should be")
    assert done.stderr.count("\n") == 1
    assert "CANARY" not in done.stdout + done.stderr
