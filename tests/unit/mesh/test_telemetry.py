"""Metrics over HTTP."""

import http.client
import selectors
import socket
from typing import Any

import pytest

from mesh import telemetry


@pytest.fixture(name="address", scope="module")
def _address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    telemetry.expose(address)
    return address


def asked(address: str, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/metrics", headers={"Host": host})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "LocalHost", "[::1]"])
@pytest.mark.parametrize("port", ["", ":9101"])
def test_loopback_has_metrics(address: str, name: str, port: str) -> None:
    status, body = asked(address, name + port)
    assert status == 200
    assert b"python_info" in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9101", "localhost.evil.example", "", "localhost:x", ":"]
)
def test_another_name_has_none(address: str, host: str) -> None:
    assert asked(address, host) == (421, b"")


def test_nobody_looks_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    class Noting(selectors.PollSelector):
        def select(self, timeout: float | None = None) -> Any:
            waits.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr("socketserver._ServerSelector", Noting)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    telemetry.expose(address)
    assert asked(address, "localhost")[0] == 200
    assert set(waits) == {telemetry.NEVER_SECONDS}
