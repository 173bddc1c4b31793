from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluice_client import sender
from tests.unit.client.scripted import Server, serving


@pytest.fixture
def server() -> Server:
    return Server()  # type: ignore[abstract]


@pytest.fixture
def target(server: Server) -> Iterator[str]:
    with serving(server) as target:
        yield target


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attempts fail sooner than is wise."""
    monkeypatch.setattr(sender, "ATTEMPT_SECONDS", 0.5)
    monkeypatch.setattr(sender, "LONGEST_DELAY_SECONDS", 0.2)
