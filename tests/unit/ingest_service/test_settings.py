from __future__ import annotations

import pytest

from ingest_service.settings import IngestSettings


@pytest.mark.parametrize("name", ["REQUEST_RETENTION_SECONDS", "STATUS_RETENTION_SECONDS"])
@pytest.mark.parametrize("value", ["0", "-1", "1e30", "10000000000"])
def test_a_time_that_nothing_could_be_kept_for_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"SLUICE_{name}", value)
    with pytest.raises(SystemExit):
        IngestSettings.load()
    assert f"SLUICE_{name}: Input should be" in capsys.readouterr().err
    monkeypatch.setenv(f"SLUICE_{name}", "1")
    IngestSettings.load()
