"""How a process of the mesh calls another one over gRPC."""

from __future__ import annotations

OPTIONS = [
    # By default gRPC waits up to two minutes between attempts to connect, and calls fail until then
    # even if the other process has been back for long.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
