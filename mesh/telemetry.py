"""Metrics of a process, for Prometheus."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from mesh.settings import LOOPBACK_NAMES

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

NEVER_SECONDS = 1e6
"""Between two looks at whether to stop serving, which only the end of the process does. The
library's own server looks twice a second."""


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def expose(listen: str) -> None:
    """Serve this process's metrics over HTTP at `listen` (`host:port`).

    On loopback it answers only to the names of loopback: a web page could point a name of its own
    at this address (DNS rebinding) and read the answers. Raises OSError when the address is taken.
    """
    host, _, port = listen.rpartition(":")
    family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]

    class Server(ThreadingMixIn, WSGIServer):
        address_family = family
        daemon_threads = True

    server = Server((host, int(port)), _Handler)
    app: App = make_wsgi_app()
    server.set_app(_only_as(LOOPBACK_NAMES, app) if host in LOOPBACK_NAMES else app)
    threading.Thread(
        target=server.serve_forever, args=(NEVER_SECONDS,), name="metrics", daemon=True
    ).start()


def _only_as(names: Iterable[str], app: Any) -> App:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        called = environ.get("HTTP_HOST", "").lower()
        name, colon, port = called.rpartition(":")
        if (name if colon and port.isdigit() else called) in names:
            return app(environ, start)  # type: ignore[no-any-return]
        start("421 Misdirected Request", [])
        return []

    return answer
