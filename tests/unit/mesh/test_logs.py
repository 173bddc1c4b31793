import json
import logging
import subprocess
import sys

import pytest

# Logging is one for the whole process, so each scene has a process of its own.
PRELUDE = """
import logging, sys
from mesh import logs
logs.configure("tested", "info")
log = logs.logger("room")
def fail():
    raise ValueError("CANARY")
"""


def lines_of(scene: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + scene], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_our_lines_carry_what_they_are_given() -> None:
    (line,) = lines_of('log.info("received", task_id="t-0", size=3)')
    assert line["event"] == "received"
    assert line["task_id"] == "t-0"
    assert line["size"] == 3
    assert line["process"] == "tested"
    assert line["level"] == "info"
    assert line["timestamp"]


def test_many_lines_at_once_are_what_each_would_be() -> None:
    texts = ["t-0", 'quoted " \\ %s %', "\n", "caf\u00e9 \u2028"]
    one_by_one = f"for n, text in enumerate({texts!r}): log.info('received', text=text, n=n)"
    at_once = f"logs.log_each('room', 'received', {{'text': {texts!r}, 'n': [0, 1, 2, 3]}})"
    expected = [line | {"timestamp": ""} for line in lines_of(one_by_one)]
    assert [line | {"timestamp": ""} for line in lines_of(at_once)] == expected
    assert [line["text"] for line in expected] == texts


def test_of_none_nothing_is_written() -> None:
    assert lines_of("logs.log_each('room', 'received', {'text': [], 'n': []})") == []


def test_levels_below_the_configured_one_are_left_out() -> None:
    assert lines_of('log.debug("not shown")') == []


@pytest.mark.parametrize(
    "scene",
    [
        'log.error("call failed", exc_info=ValueError("CANARY"))',
        'try:\n    fail()\nexcept ValueError:\n    log.exception("call failed")',
    ],
)
def test_an_exception_is_told_by_type_and_place(scene: str) -> None:
    (line,) = lines_of(scene)
    assert line["error"] == "ValueError"
    assert "CANARY" not in json.dumps(line)


@pytest.mark.parametrize(
    "scene",
    [
        'logging.getLogger("dramatiq.worker").error("Failed to process %s", "CANARY")',
        'logging.getLogger("urllib3").warning("CANARY")',
        'logging.getLogger().error("CANARY")',
        'try:\n    fail()\nexcept ValueError:\n    logging.getLogger("grpc").exception("CANARY")',
        # A stack shows source text, which is no value: so the word is not in one piece there.
        'logging.getLogger("x").error("y", extra={"body": "CAN" "ARY"}, stack_info=True)',
        "import warnings; logging.captureWarnings(True); warnings.warn('CANARY')",
    ],
)
def test_a_library_cannot_print_what_it_was_given(scene: str) -> None:
    (line,) = lines_of(scene)
    assert "CANARY" not in json.dumps(line)
    assert line["logger"]
    assert line["level"] in {"warning", "error"}


@pytest.mark.parametrize("where", ["thread", "main"])
def test_an_uncaught_exception_does_not_print_its_text(where: str) -> None:
    scene = (
        "import threading\nt = threading.Thread(target=fail)\nt.start()\nt.join()"
        if where == "thread"
        else "fail()"
    )
    done = subprocess.run([sys.executable, "-c", PRELUDE + scene], capture_output=True, text=True)
    assert "CANARY" not in done.stdout + done.stderr
    assert "ValueError" in done.stdout


def test_this_process_is_left_alone() -> None:
    assert not logging.getLogger("sluice").handlers
