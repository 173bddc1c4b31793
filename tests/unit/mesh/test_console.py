"""Commands whose reader stops early, as `| head -1` does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

WORK = """
import sys
from pathlib import Path
from mesh.console import ignore_output_errors
ignore_output_errors()
print("x" * 100_000)
Path(sys.argv[1]).touch()
print("done")
sys.exit(3)
"""


def unread(
    *arguments: str | Path, environment: dict[str, str] | None = None, given: str = ""
) -> tuple[int, str]:
    """Run Python with a standard output that nobody reads; return exit code and what it says."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            input=given,
            text=True,
            cwd=ROOT,
            env=os.environ
            | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'gen'}"}
            | (environment or {}),
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("buffering", ["", "1"])
def test_the_work_goes_on(tmp_path: Path, buffering: str) -> None:
    ended = unread("-c", WORK, tmp_path / "done", environment={"PYTHONUNBUFFERED": buffering})
    assert ended == (3, "")
    assert (tmp_path / "done").exists()


def test_a_closed_output_hides_nothing_else(tmp_path: Path) -> None:
    child = "import subprocess; subprocess.run(['echo', 'theirs'], check=True)"
    script = WORK.replace(
        "Path(sys.argv[1]).touch()", f"Path(sys.argv[1]).write_text('mine'); {child}"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "-", sys.executable, "-c", script, tmp_path / "done"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert (tmp_path / "done").read_text() == "mine"


def test_a_full_disk_is_told_once_and_the_work_goes_on(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", WORK, tmp_path / "done"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    assert done.returncode == 3
    assert done.stderr == "What is printed gets lost: No space left on device\n"
    assert (tmp_path / "done").exists()


def test_lines_come_when_they_are_printed() -> None:
    script = "import mesh.console; mesh.console.ignore_output_errors(); print('one'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        process.communicate("\n")


def test_a_command_of_the_mesh_does_all_of_its_work(tmp_path: Path) -> None:
    for name in ("logs", "run", "envoy"):
        (tmp_path / name).mkdir()
    (tmp_path / "reports" / "edge").mkdir(parents=True)
    (tmp_path / "reports" / ".ids").mkdir()
    for name in (".01m85r.tmp", "edge/.01m85s.tmp", ".ids/01m85t", "alert_x.txt"):
        (tmp_path / "reports" / name).touch()
    places = {"SLUICE_STATE": str(tmp_path), "SLUICE_REPORTS_DIR": str(tmp_path / "reports")}
    assert unread("-m", "deploy.local", "clean", environment=places) == (0, "")
    assert list(tmp_path.rglob("*")) == [tmp_path / "reports", tmp_path / "reports" / "edge"]


def test_dead_letters() -> None:
    nowhere = {"SLUICE_REDIS_URL": "redis://127.0.0.1:9/0"}
    command = ("-m", "worker.dead_letters", "list")
    assert unread(*command, environment=nowhere) == (1, "")


def test_a_filter_ends_as_filters_do() -> None:
    ended = unread("-m", "detection", given="card 4111 1111 1111 1111\n")
    assert ended == (-signal.SIGPIPE, "")
