"""Metrics of a process, for Prometheus."""

from __future__ import annotations

from prometheus_client import start_http_server


def expose(listen: str) -> None:
    """Serve this process's metrics over HTTP at `listen` (`host:port`).

    Raises OSError when the address is taken.
    """
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), addr=host)
