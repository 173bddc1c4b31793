"""Where Envoy's admin socket is, and who may get at it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from deploy.local import admin


def test_it_lies_with_the_rest_of_the_state() -> None:
    assert admin.socket_path(Path("/x")) == Path("/x/envoy/admin.sock")


def test_a_long_path_has_a_short_one_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/short")
    long = tmp_path / ("long-" * 20)
    short = admin.socket_path(long)
    assert short.parent == Path(f"/short/sluice-{os.getuid()}")
    assert admin.socket_path(tmp_path / ("longer" * 20)) != short
    # Bytes count, not characters.
    assert admin.socket_path(Path("/" + "\u00fc" * 50)).is_relative_to("/short")


def test_where_no_path_is_short_enough_one_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * 100)
    with pytest.raises(admin.AdminError, match="SLUICE_STATE"):
        admin.socket_path(Path("/" + "s" * 100))


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    admin.require_private(mine)
    link = tmp_path / "link"
    link.symlink_to(mine)
    with pytest.raises(admin.AdminError, match="other users"):
        admin.require_private(link)
    mine.chmod(0o750)
    with pytest.raises(admin.AdminError, match="other users"):
        admin.require_private(mine)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        admin.get(tmp_path / "none.sock", "/ready", 1)
