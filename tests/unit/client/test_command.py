"""The command: what it prints, how it ends, and a batch that is broken off at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from mesh.errors import CallError, FieldError
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice_client import command
from tests.kit.processes import OUR_CODE
from tests.kit.waiting import eventually
from tests.unit.client.scripted import Piece, Server, failed, unavailable, value_of
from tests.unit.client.test_client import NOWHERE

REFUSED = CallError(
    grpc.StatusCode.INVALID_ARGUMENT,
    "CONTENT_REFUSED",
    "Remove it.",
    {"alert_id": "alert-1", "detectors": "us_ssn"},
    [FieldError("/data", "US_SSN", "Remove it.")],
)


def picky(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
    """Refuse what is divisible by 100."""
    results = list(server.store(piece))
    for index, each in enumerate(piece.submissions):
        if value_of(each) % 100 == 0:
            results[index] = failed(REFUSED)
    return results


def test_submit_prints_the_task(
    server: Server, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--target", target, "submit", '"hello"', "--source", "shell"]) == 0
    assert capsys.readouterr().out == "task-0\n"
    assert server.rows == ["hello"]


def test_what_is_refused_is_told(
    server: Server, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = picky
    assert command.main(["--target", target, "submit", "100"]) == 1
    told = capsys.readouterr()
    assert (told.out, "/data (us_ssn)" in told.err) == ("", True)


def test_a_server_that_is_away_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--target", NOWHERE, "--deadline", "0.3", "submit", "1"]) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["submit"],
        ["submit", "hello"],
        ["submit", "NaN"],
        ["submit", "1", "--batch", "x"],
        ["scan", "{"],
    ],
)
def test_a_wrong_call_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--target", NOWHERE, *arguments])
    assert ended.value.code == 2


def test_a_batch_tells_what_was_refused_and_never_what_it_was(
    server: Server, target: str, tmp_path: Path
) -> None:
    server.script = picky
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f"{n}\n" for n in range(1, 251)) + "\n{broken\n251")
    assert command.main(["--target", target, "submit", "--batch", str(file)]) == 1
    told = [json.loads(line) for line in Path(f"{file}.refused.ndjson").read_text().splitlines()]
    assert [each["line"] for each in told] == [100, 200, 252]
    assert told[0] == {
        "line": 100,
        "error": "CONTENT_REFUSED",
        "alert_id": "alert-1",
        "detectors": ["us_ssn"],
        "fields": [{"path": "/data", "reason": "US_SSN"}],
    }
    assert told[2] == {"line": 252, "error": "the line is no JSON"}
    assert sorted(server.rows) == list(range(1, 252))
    assert not (tmp_path / "events.ndjson.journal").exists()


def test_a_batch_of_which_nothing_is_refused_leaves_nothing_behind(
    server: Server, target: str, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    for content in ("1\n2\n", ""):
        file.write_text(content)
        assert command.main(["--target", target, "submit", "--batch", str(file)]) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["events.ndjson"]


def test_a_batch_that_is_killed_again_and_again_is_submitted_once(
    server: Server, target: str, tmp_path: Path
) -> None:
    def slow(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        # So that no run gets to the end before it is killed.
        time.sleep(0.05)
        return picky(server, piece)

    server.script = slow
    file = tmp_path / "events.ndjson"
    count = 15_000
    file.write_text("".join(f"{n}\n" for n in range(1, count + 1)))
    program = [sys.executable, "-m", "sluice_client.command", "--target", target]
    rng = random.Random(5)
    for _ in range(4):
        process = subprocess.Popen(
            [*program, "submit", "--batch", str(file)],
            env=os.environ | OUR_CODE,
            stderr=subprocess.DEVNULL,
        )
        more = len(server.rows) + rng.randrange(1, 1000)
        eventually(lambda: len(server.rows) >= more or process.poll() is not None)  # noqa: B023
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
        process.wait(20)
        assert Path(f"{file}.journal").exists()
    done = subprocess.run(
        [*program, "submit", "--batch", str(file)],
        env=os.environ | OUR_CODE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "100%" in done.stderr
    assert f"{count - count // 100:,} accepted, {count // 100:,} not" in done.stderr
    assert sorted(server.rows) == list(range(1, count + 1))
    told = [
        json.loads(line)["line"] for line in Path(f"{file}.refused.ndjson").read_text().splitlines()
    ]
    assert told == list(range(100, count + 1, 100))


def test_a_batch_stops_when_nobody_answers(
    server: Server, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("1\n2\n")
    options = ["submit", "--batch", str(file)]
    assert command.main(["--target", NOWHERE, "--deadline", "0.3", *options]) == 1
    assert "run it again" in capsys.readouterr().err
    assert command.main(["--target", target, *options]) == 0
    assert sorted(server.rows) == [1, 2]


def test_lines_that_the_server_may_have_forgotten_are_not_sent_again(
    server: Server, target: str, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("1\n2\n")
    options = ["submit", "--batch", str(file)]
    command.main(["--target", NOWHERE, "--deadline", "0.3", *options])
    journal = Path(f"{file}.journal")
    kept = json.loads(journal.read_text())
    kept["begun"] -= 24 * 3600
    journal.write_text(json.dumps(kept))
    assert command.main(["--target", target, *options]) == 1
    told = [json.loads(line) for line in Path(f"{file}.refused.ndjson").read_text().splitlines()]
    assert [each["line"] for each in told] == [1, 2]
    assert "earlier run" in told[0]["error"]
    assert not server.rows


@pytest.mark.parametrize("change", ["next day", "shorter", "journal"])
def test_a_journal_of_another_file_is_not_gone_on_with(
    server: Server,
    target: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    def once(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        if server.rows:
            raise unavailable()
        return server.store(piece)

    server.script = once
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f"{n}\n" for n in range(1000, 4000)))
    options = ["--target", target, "--deadline", "1", "submit", "--batch", str(file)]
    assert command.main(options) == 1
    stored = len(server.rows)
    server.script = Server.store
    journal = Path(f"{file}.journal")
    if change == "next day":
        file.write_text("".join(f"{n}\n" for n in range(4000, 8000)))
    elif change == "shorter":
        file.write_text(file.read_text()[:-5])
    else:
        journal.write_text("")
    capsys.readouterr()
    assert command.main(options) == 2
    assert "is of another file" in capsys.readouterr().err
    assert len(server.rows) == stored
    assert journal.exists()


def test_a_file_that_has_grown_is_gone_on_with(server: Server, target: str, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("1\n2\n")
    options = ["submit", "--batch", str(file)]
    assert command.main(["--target", NOWHERE, "--deadline", "0.3", *options]) == 1
    file.write_text("1\n2\n3\n")
    assert command.main(["--target", target, *options]) == 0
    assert sorted(server.rows) == [1, 2, 3]


def test_a_batch_out_of_a_pipe_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Both ends, so that nobody waits for the other.
    ends = os.open(pipe, os.O_RDWR)
    os.write(ends, b"1\n")
    assert command.main(["--target", NOWHERE, "submit", "--batch", str(pipe)]) == 2
    os.close(ends)
    assert f"{pipe}: " in capsys.readouterr().err
