"""A policy file that changes in every way a file can: the policy in force is always a whole one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detection import PolicyError, PolicyFile, Scanner, policy_file
from detection.fields import ROOT, Fields
from detection.policy_file import PACKAGED_POLICY

NIGHTJAR = "version: 1\nkeywords:\n  - nightjar\n"
FALCON = "version: 1\nkeywords:\n  - falconry\n"


def finds(policy: PolicyFile, text: str) -> bool:
    fields = Fields(texts=[text], places=[(ROOT, "")], is_key=[False])
    return bool(policy.scanner.scan(fields, "").findings)


def look_twice(policy: PolicyFile) -> bool:
    """Look until a change has stood still for a look."""
    return [policy.refresh(), policy.refresh()][-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(NIGHTJAR)
    return path


@pytest.fixture
def policy(path: Path) -> PolicyFile:
    return PolicyFile(path)


def bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, other in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{other}: &{other} [{', '.join([f'*{one}'] * 9)}]")
    return "\n".join(lines) + "\n"


BAD = {
    "emptied": b"",
    "blank": b" \n\n",
    "comments only": b"# nothing\n",
    "nothing said": b"{}\n",
    "cut in a word": NIGHTJAR.encode()[:-4],
    "cut in a key": NIGHTJAR.encode()[:15],
    "not UTF-8": b"version: 1\nkeywords: [\xff\xfe]\n",
    "NUL": b"version: 1\nkeywords: ['a\0b']\n",
    "huge": b"# " + b"x" * 2_000_000 + b"\n",
    "bomb": bomb().encode(),
    "bites its tail": b"keywords: &a [*a]\n",
    "deep": b"[" * 100_000 + b"\n",
    "a list": b"- version\n",
    "a number": b"7\n",
    "wrong type": b"version: 1\nkeywords: 7\n",
    "another version": b"version: 2\n",
    "two documents": b"version: 1\n---\nversion: 1\n",
    "full-width bracket": "version: 1\npatterns: [{name: a, pattern: 'a［b'}]\n".encode(),
    "an example that fails": b"patterns: [{name: a, pattern: ab+, matches: [a]}]\n",
    "patterns too large together": b"patterns:\n"
    + b"".join(
        b"- {name: p%d, pattern: 'x%d[a-z]{200}[0-9]{300}'}\n" % (n, n) for n in range(3000)
    ),
}


def test_a_pipe_in_its_place_stops_nothing(path: Path, policy: PolicyFile) -> None:
    path.unlink()
    os.mkfifo(path)
    policy.refresh()
    with pytest.raises(PolicyError, match="no regular file"):
        policy.refresh()
    assert finds(policy, "nightjar")
    path.unlink()
    path.write_text(FALCON)
    assert look_twice(policy)
    assert finds(policy, "falconry")


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_policy_leaves_the_old_one_in_force(
    path: Path, policy: PolicyFile, name: str
) -> None:
    path.write_bytes(BAD[name])
    assert policy.refresh() is False
    with pytest.raises(PolicyError) as error:
        policy.refresh()
    assert policy.refused == str(error.value)
    assert finds(policy, "nightjar")
    # Said once, not at every look.
    assert not any(policy.refresh() for _ in range(3))
    assert policy.refused is not None

    path.write_text(FALCON)
    assert look_twice(policy) is True
    assert policy.refused is None
    assert finds(policy, "falconry") and not finds(policy, "nightjar")


@pytest.mark.parametrize("name", ["emptied", "comments only", "not UTF-8", "bomb", "wrong type"])
def test_what_is_no_policy_is_an_error_at_the_start(path: Path, name: str) -> None:
    path.write_bytes(BAD[name])
    with pytest.raises(PolicyError):
        PolicyFile(path)


def test_a_file_cut_anywhere_within_a_line_is_refused(path: Path, policy: PolicyFile) -> None:
    packaged = PACKAGED_POLICY.read_bytes()
    for size in range(0, len(packaged), 37):
        if packaged[:size].endswith(b"\n"):
            continue
        path.write_bytes(packaged[:size])
        policy.refresh()
        with pytest.raises(PolicyError):
            policy.refresh()
    assert finds(policy, "nightjar")


def test_a_file_that_comes_and_goes(path: Path, policy: PolicyFile) -> None:
    path.unlink()
    policy.refresh()
    with pytest.raises(PolicyError, match="FileNotFoundError"):
        policy.refresh()
    assert policy.refresh() is False and policy.refused
    path.mkdir()
    policy.refresh()
    with pytest.raises(PolicyError, match="IsADirectoryError"):
        policy.refresh()
    path.rmdir()
    path.write_text(NIGHTJAR)
    assert look_twice(policy) is True
    assert policy.refused is None and finds(policy, "nightjar")


def written(path: Path, text: str) -> None:
    path.write_text(text)


def renamed(path: Path, text: str) -> None:
    beside = path.with_name("new")
    beside.write_text(text)
    beside.replace(path)


def same_size_and_time(path: Path, text: str) -> None:
    status = path.stat()
    with path.open("r+") as file:
        file.write(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (status.st_mtime_ns, status.st_ino)


def copied_with_its_time(path: Path, text: str) -> None:
    beside = path.with_name("new")
    beside.write_text(text)
    shutil.copystat(path, beside)
    beside.replace(path)


@pytest.mark.parametrize("change", [written, renamed, same_size_and_time, copied_with_its_time])
def test_a_change_is_seen_however_it_is_made(
    path: Path, policy: PolicyFile, change: Callable[[Path, str], None]
) -> None:
    assert len(FALCON) == len(NIGHTJAR)
    change(path, FALCON)
    assert look_twice(policy) is True
    assert finds(policy, "falconry") and not finds(policy, "nightjar")
    assert not any(policy.refresh() for _ in range(3))


def test_a_link_that_changes_its_target_is_seen(tmp_path: Path) -> None:
    # A ConfigMap of Kubernetes: the file is a link through a folder that is a link.
    for name, text in (("one", NIGHTJAR), ("two", FALCON)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "policy.yaml").symlink_to("data/policy.yaml")
    policy = PolicyFile(tmp_path / "policy.yaml")
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").replace(tmp_path / "data")
    assert look_twice(policy) is True
    assert finds(policy, "falconry")


def test_what_is_still_being_written_is_not_taken_up(path: Path, policy: PolicyFile) -> None:
    whole = FALCON + "  - kingfisher\n"
    for size in (0, 11, len(FALCON)):  # nothing, and two whole policies that nobody meant
        path.write_text(whole[:size])
        assert policy.refresh() is False
        assert finds(policy, "nightjar") and policy.refused is None
    path.write_text(whole)
    assert look_twice(policy) is True
    assert finds(policy, "falconry") and finds(policy, "kingfisher")


def test_twice_changed_and_back_is_no_change(path: Path, policy: PolicyFile) -> None:
    path.write_text(FALCON)
    assert policy.refresh() is False
    path.write_text(NIGHTJAR)
    assert not any(policy.refresh() for _ in range(3))


def test_whatever_fails_is_a_refused_policy(
    path: Path, policy: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_policy: object) -> Scanner:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(policy_file, "Scanner", broken)
    path.write_text(FALCON)
    policy.refresh()
    with pytest.raises(PolicyError) as error:
        policy.refresh()
    assert "RuntimeError" in str(error.value) and "CANARY" not in str(error.value)
    assert finds(policy, "nightjar")
