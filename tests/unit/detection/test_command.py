from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from detection.__main__ import main


def test_one_json_line_for_each_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"user": {"mail": "bob@example.com"}}\n\nplain 4539148803436467\n{broken\n')
    assert main([str(file)]) == 1
    output = capsys.readouterr().out
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(n["line"], n["detector"], n["pointer"]) for n in lines] == [
        (1, "email", "/data/user/mail"),
        (3, "payment_card", "/data"),
    ]
    assert "bob" not in output and "4539" not in output


def test_standard_input_and_a_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("detectors: {email: {action: tag}}\nkeywords: [{word: falcon, shadow: true}]")
    monkeypatch.setattr("sys.stdin", io.StringIO("falcon by\nbob@example.com"))
    assert main(["--policy", str(policy), "--whole"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(n["detector"], n["action"], n["shadow"]) for n in lines] == [
        ("email", "TAG", False),
        ("keyword", "REJECT", True),
    ]


def test_what_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--policy", str(tmp_path / "none.yaml")]) == 2
    assert main([str(tmp_path / "none.txt")]) == 2
    assert capsys.readouterr().err.count("sluice-scan: ") == 2


def test_what_was_not_scanned_or_not_listed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("action: tag")
    file = tmp_path / "data.jsonl"
    many = json.dumps(["bob@example.com"] * 300)
    file.write_text(f"{many}\n" + "[" * 40 + "]" * 40 + "\n" + json.dumps({"k" * 2000: 1}))
    assert main([str(file), "--policy", str(policy)]) == 1
    output, errors = capsys.readouterr()
    assert len(output.splitlines()) == 256
    assert [line.split(": ")[2:] for line in errors.splitlines()] == [
        ["line 1", "at least 44 more findings are not listed"],
        *(
            [line, "nested too deeply, or a key is too long; not all of it was scanned"]
            for line in ("line 2", "line 3")
        ),
    ]
