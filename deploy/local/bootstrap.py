"""Prepares a fresh clone: environments and generated stubs. Standard library only.

Run by the system's own Python before anything is installed: `python3 -m deploy.local.bootstrap`.
Idempotent: only what is missing or outdated is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.console import ignore_output_errors

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"
OLDEST_PYTHON = (3, 11)
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"

NO_NETWORK = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
    "Failed to establish a new connection",
)
"""What pip prints when no package index answers."""


def tools_environment() -> Path:
    """Return the environment of the command-line tools; clones with the same pins share it."""
    return CACHE / f"tools-{PYTHON}-{_digest(REQUIREMENTS / 'tools.txt')}"


def main() -> None:
    """Install what is missing. If that is impossible, exits with a line that says what to do."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"Sluice needs Python 3.11 or later; this is {sys.version.split()[0]}. "
            "Install a later one and name it, for example: make PYTHON=python3.12 up"
        )
    if _ready():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    # Two runs at once, in one clone or in two, must not install over each other.
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(VENV, REQUIREMENTS / "dev.txt", "Python packages")
        _install(tools_environment(), REQUIREMENTS / "tools.txt", "command-line tools")
        _generate()


def run_showing(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run `command` and return its exit code and all it printed.

    On a terminal its latest line is shown while it works.
    """
    live = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 4
    printed = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            printed.append(line.strip())
            if live:
                print(f"\r\033[K  {printed[-1][:width]}", end="", flush=True)
    if live:
        print("\r\033[K", end="", flush=True)
    return process.returncode, printed


def _ready() -> bool:
    installed = {VENV: "dev.txt", tools_environment(): "tools.txt"}
    return _generated() and all(
        _installed(environment, REQUIREMENTS / file) for environment, file in installed.items()
    )


def _installed(environment: Path, requirements: Path) -> bool:
    stamp = environment / "installed"
    # The interpreter is a link, which breaks when the system's Python is replaced.
    return (
        (environment / "bin" / "python").exists()
        and stamp.exists()
        and stamp.read_text() == f"{PYTHON} {_digest(requirements)}"
    )


def _install(environment: Path, requirements: Path, what: str) -> None:
    if _installed(environment, requirements):
        return
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            "This Python cannot make virtual environments. On Debian and Ubuntu: "
            "apt install python3-venv"
        )
    print(f"Installing {what} ...")
    shutil.rmtree(environment, ignore_errors=True)
    code, printed = run_showing([sys.executable, "-m", "venv", environment])
    if code == 0:
        pip = (environment / "bin" / "python", "-m", "pip", "install", "--progress-bar", "off")
        # Without a wheel pip would compile, which fails late and verbosely without a compiler.
        flags = ("--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes")
        code, printed = run_showing((*pip, *flags, "-r", requirements))
    if code:
        sys.exit(_reason(what, printed))
    (environment / "installed").write_text(f"{PYTHON} {_digest(requirements)}")


def _reason(what: str, printed: Sequence[str]) -> str:
    if any(sign in line for line in printed for sign in NO_NETWORK):
        return (
            f"No network: the {what} have to be fetched once. Connect, or tell pip where to find "
            "them (PIP_INDEX_URL, PIP_FIND_LINKS), and run the same command again."
        )
    last = next((line for line in reversed(printed) if line.startswith("ERROR")), None)
    if last and "No matching distribution" in last:
        last = (
            f"{last}: there is no wheel of it for {PYTHON} on this machine. Name a Python that has "
            "them, 3.11 to 3.14, for example: make PYTHON=python3.14 up"
        )
    return f"The {what} could not be installed. {last or ' '.join(printed[-1:])}"


def _generated() -> bool:
    stamp = ROOT / "protos" / "gen" / "generated"
    return stamp.exists() and stamp.read_text() == _contracts()


def _generate() -> None:
    """Generate stubs and descriptor set when a contract or the generator has changed."""
    if _generated():
        return
    print("Generating stubs ...")
    code, printed = run_showing([VENV / "bin" / "python", ROOT / "protos" / "generate.py"])
    if code:
        sys.exit("\n".join(printed))
    (ROOT / "protos" / "gen" / "generated").write_text(_contracts())


def _contracts() -> str:
    protos = ROOT / "protos"
    sources = sorted([*protos.glob("sluice/**/*.proto"), protos / "generate.py"])
    # Another Python may have a later generator, whose stubs the runtime of this one refuses.
    return f"{PYTHON} {_digest(*sources, REQUIREMENTS / 'dev.txt', ROOT / 'pyproject.toml')}"


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    ignore_output_errors()
    main()
