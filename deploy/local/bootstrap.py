"""Prepares a fresh clone: environments and generated stubs. Standard library only.

Run by the system's own Python before anything is installed: `python3 deploy/local/bootstrap.py`.
What is already there is left alone; a second run takes a moment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"
OLDEST_PYTHON = (3, 11)


def tools_environment() -> Path:
    """Return the environment of the command-line tools, shared by all clones that pin the same."""
    return CACHE / f"tools-{_digest(REQUIREMENTS / 'tools.txt')}"


def main() -> None:
    """Install what is missing. Exits with one line that says what to do when that is impossible."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"Sluice needs Python 3.11 or later; this is {sys.version.split()[0]}. "
            "Install it and run make PYTHON=python3.11 up"
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    _install(VENV, REQUIREMENTS / "dev.txt", "Python packages")
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(tools_environment(), REQUIREMENTS / "tools.txt", "command-line tools")
    _generate()


def _install(environment: Path, requirements: Path, what: str) -> None:
    stamp = environment / "installed"
    wanted = _digest(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {what} ...", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", environment], capture_output=True)
    if made.returncode:
        shutil.rmtree(environment, ignore_errors=True)
        sys.exit(
            "Python cannot make virtual environments here. On Debian and Ubuntu run: "
            "apt install python3-venv"
        )
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    flags = ["--disable-pip-version-check", "--require-hashes", "-r", str(requirements)]
    if subprocess.run([*pip, *flags]).returncode:
        sys.exit(
            "The packages could not be installed: see the lines above. Without a network, set "
            "pip's own variables (PIP_INDEX_URL, PIP_FIND_LINKS) to where they can be had."
        )
    stamp.write_text(wanted)


def _generate() -> None:
    """Generate stubs and descriptor set when a contract or the generator has changed."""
    protos = ROOT / "protos"
    sources = sorted([*protos.glob("sluice/**/*.proto"), protos / "generate.py"])
    wanted = _digest(*sources, REQUIREMENTS / "dev.txt")
    stamp = protos / "gen" / "generated"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Generating stubs ...", flush=True)
    done = subprocess.run(
        [VENV / "bin" / "python", protos / "generate.py"], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    stamp.write_text(wanted)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
