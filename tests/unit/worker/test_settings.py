from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.settings import WorkerSettings


def test_defaults_suit_local_use() -> None:
    settings = WorkerSettings()
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.influx_bucket == "logs"
    assert settings.worker_threads == 2
    # A killed worker's jobs are back within the heartbeat and five seconds, fifteen in all.
    assert settings.heartbeat_seconds + 5 <= 15


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_INFLUX_TOKEN", "user:password")
    monkeypatch.setenv("SLUICE_WORKER_THREADS", "5")
    settings = WorkerSettings()
    assert settings.worker_threads == 5
    assert settings.influx_token.get_secret_value() == "user:password"
    assert "password" not in repr(settings)


def test_a_worker_has_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WORKER_THREADS", "0")
    with pytest.raises(ValidationError):
        WorkerSettings()


def test_the_token_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "writer"
    path.write_text("writer:password\n")
    monkeypatch.setenv("SLUICE_INFLUX_TOKEN_FILE", str(path))
    monkeypatch.setenv("SLUICE_INFLUX_TOKEN", "")
    settings = WorkerSettings.load()
    assert settings.influx_token.get_secret_value() == "writer:password"
    assert "password" not in repr(settings)
    monkeypatch.setenv("SLUICE_INFLUX_TOKEN_FILE", "")
    assert WorkerSettings.load().influx_token.get_secret_value() == ""


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_token_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
) -> None:
    path = tmp_path / "writer"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SLUICE_INFLUX_TOKEN_FILE", str(path))
    with pytest.raises(SystemExit):
        WorkerSettings.load()
    assert "The file that SLUICE_INFLUX_TOKEN_FILE names cannot be read" in capsys.readouterr().err
