"""What Sluice expects of the server that keeps its queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deploy.local import parts
from deploy.local.programs import redis_conf
from deploy.local.settings import LocalSettings
from tests.kit.processes import ROOT, Process
from tests.kit.servers import Redis

LOCAL = redis_conf(LocalSettings(), Path("/data"))
COMPOSE = (ROOT / "deploy" / "redis.conf").read_text()
SERVICE = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())["services"]
# But for the last option and its value, which only a late version has.
COMPOSE_OPTIONS = SERVICE["redis"]["command"][2:-2]


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    yield server
    server.process.stop()


@pytest.mark.parametrize(
    ("configuration", "options"),
    [(LOCAL, []), (COMPOSE, COMPOSE_OPTIONS)],
    ids=["local", "compose"],
)
def test_our_configuration_is_understood(
    server: Redis, tmp_path: Path, configuration: str, options: list[str]
) -> None:
    path = tmp_path / "redis.conf"
    data = str(tmp_path / "redis")
    path.write_text(configuration.replace("/data", data))
    # Later options win.
    own = [*options, "--port", str(server.port), "--bind", "127.0.0.1"]
    own = [option.replace("/data", data) for option in own]
    server.process = Process([str(parts.redis_server()), str(path), *own], tmp_path / "log", {})
    server.start()
    asked = server.client.config_get("appendfsync", "maxmemory*", "save", "slowlog-max-len")
    assert asked["appendfsync"] == "always"
    assert asked["maxmemory"] == str(2**30)
    assert asked["maxmemory-policy"] == "noeviction"
    assert asked["save"] == ""
    assert asked["slowlog-max-len"] == "0"
    server.client.hset("states", mapping={str(number): "x" * 100 for number in range(1000)})
    assert server.client.object("encoding", "states") == b"listpack"


def test_what_an_earlier_redis_kept_is_taken_over(server: Redis, tmp_path: Path) -> None:
    # As Redis 6.2 keeps it: one file, no folder.
    log = b"*3\r\n$3\r\nSET\r\n$4\r\nkept\r\n$3\r\nyes\r\n"
    (tmp_path / "redis" / "appendonly.aof").write_bytes(log)
    server.start()
    server.client.set("more", "also")
    server.process.stop()
    server.start()
    assert server.client.mget("kept", "more") == [b"yes", b"also"]
