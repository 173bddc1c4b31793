"""gRPC calls with raw bytes."""

from __future__ import annotations

from typing import Any, cast

import grpc


def call(channel: grpc.Channel, method: str, data: bytes) -> grpc.Call:
    """Make a unary call with raw bytes and return how it ended."""
    answering: Any = channel.unary_unary(method)
    ended: grpc.Call
    try:
        _, ended = answering.with_call(data, timeout=30)
    except grpc.RpcError as error:
        # What the library raises is the call.
        ended = cast(grpc.Call, error)
    return ended
