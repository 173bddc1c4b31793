"""How a process of the mesh calls another one over gRPC."""

from __future__ import annotations

OPTIONS = [
    # gRPC waits up to two minutes between its attempts to connect. Calls fail for as long, though
    # the other process may long be back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
