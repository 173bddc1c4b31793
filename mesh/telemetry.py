"""Metrics of a process, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import start_http_server

from mesh.settings import LOOPBACK_NAMES

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def expose(listen: str) -> None:
    """Serve this process's metrics over HTTP at `listen` (`host:port`).

    On loopback it answers only to the names of loopback: a web page could point a name of its own
    at this address (DNS rebinding) and read the answers. Raises OSError when the address is taken.
    """
    host, _, port = listen.rpartition(":")
    server, _ = start_http_server(int(port), addr=host)
    if host in LOOPBACK_NAMES:
        server.set_app(_only_as(LOOPBACK_NAMES, server.get_app()))


def _only_as(names: Iterable[str], app: Any) -> App:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        called = environ.get("HTTP_HOST", "").lower()
        name, colon, port = called.rpartition(":")
        if (name if colon and port.isdigit() else called) in names:
            return app(environ, start)  # type: ignore[no-any-return]
        start("421 Misdirected Request", [])
        return []

    return answer
