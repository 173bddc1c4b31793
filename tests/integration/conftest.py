"""The servers that the queue may lie in: the packaged one, and the machine's own if it has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import parts
from tests.kit.servers import Redis

OWN = parts.own_redis_server()
SERVERS = {"packaged": parts.packaged_redis_server()} | ({"own": OWN} if OWN else {})


# Of a session it would outlast this folder, and the unit tests that come later would meet it.
@pytest.fixture(scope="module", params=list(SERVERS.values()), ids=list(SERVERS), autouse=True)
def _redis_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make every test of this folder use the one server, and then the other."""
    server: Path = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "redis_server", lambda: server)
        yield


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Redis]:
    """Give a Redis of the test's own."""
    server = Redis(tmp_path / "redis")
    server.start()
    yield server
    server.process.stop()
