"""gRPC calls with raw bytes."""

from __future__ import annotations

from typing import Any, cast

import grpc
from google.rpc import error_details_pb2, status_pb2


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


def reason_of(ended: grpc.Call) -> str:
    """Return the reason in a rich error."""
    (packed,) = [
        value for key, value in ended.trailing_metadata() or () if key == "grpc-status-details-bin"
    ]
    for detail in status_pb2.Status.FromString(packed).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    raise AssertionError("the error has no ErrorInfo")
