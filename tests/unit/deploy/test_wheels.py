"""Whether a missing wheel is noticed, and an index that does not answer is told from that."""

import zipfile
from pathlib import Path

import pytest

from deploy import wheels


@pytest.fixture(name="shelf")
def _shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is all there is to install from."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def wheel(shelf: Path, tag: str) -> None:
    """Put a wheel of `part` 1.0 on the shelf."""
    path = shelf / f"part-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        information = "part-1.0.dist-info"
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: part\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{information}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n"
        )
        archive.writestr(f"{information}/RECORD", "")


@pytest.fixture(name="pinned")
def _pinned(tmp_path: Path) -> Path:
    path = tmp_path / "pinned.txt"
    path.write_text("part==1.0")
    return path


def test_a_wheel_that_fits_everywhere_will_do(shelf: Path, pinned: Path) -> None:
    wheel(shelf, "py3-none-any")
    assert wheels.missing_wheel(pinned, "3.14", "aarch64") == ""


def test_a_wheel_for_one_python_is_missed_on_another(shelf: Path, pinned: Path) -> None:
    wheel(shelf, "cp313-cp313-manylinux_2_28_x86_64")
    assert wheels.missing_wheel(pinned, "3.13", "x86_64") == ""
    assert "part" in wheels.missing_wheel(pinned, "3.14", "x86_64")


def test_a_wheel_for_one_processor_is_missed_on_the_other(shelf: Path, pinned: Path) -> None:
    wheel(shelf, "py3-none-manylinux_2_28_x86_64")
    assert wheels.missing_wheel(pinned, "3.14", "x86_64") == ""
    assert "part" in wheels.missing_wheel(pinned, "3.14", "aarch64")


def test_a_wheel_for_a_newer_system_is_missed(shelf: Path, pinned: Path) -> None:
    wheel(shelf, "py3-none-manylinux_2_39_x86_64")
    assert "part" in wheels.missing_wheel(pinned, "3.14", "x86_64")


def test_a_marker_is_read_for_the_python_asked_about(shelf: Path, pinned: Path) -> None:
    wheel(shelf, "cp313-cp313-manylinux_2_28_x86_64")
    pinned.write_text("part==1.0 ; python_version < '3.14'")
    assert wheels.missing_wheel(pinned, "3.14", "x86_64") == ""


def test_an_index_that_does_not_answer_is_no_missing_wheel(
    pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(wheels.IndexUnavailable):
        wheels.missing_wheel(pinned, "3.14", "x86_64")
