from __future__ import annotations

import pytest

from worker.dead_letters import main


def test_a_wrong_setting_is_told_by_name_and_never_by_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_WORKER_THREADS", "CANARY")
    with pytest.raises(SystemExit) as caught:
        main(["list"])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("SLUICE_WORKER_THREADS: ")
    assert "CANARY" not in told
