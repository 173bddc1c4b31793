"""The details of a gRPC error."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

Detail = TypeVar("Detail", bound=Message)


def detail_of(error: Any, kind: type[Detail]) -> Detail | None:
    """Return the detail of a type that an error (a failed call) brings, None without one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                detail = kind()
                if packed.Unpack(detail):
                    return detail
    return None


def error_info(error: Any) -> Any:
    """Return the ErrorInfo of an error. Fails when there is none."""
    info = detail_of(error, error_details_pb2.ErrorInfo)
    assert info is not None, "the error has no ErrorInfo"
    return info
