"""Errors as callers see them: one shape at every hop, and never a value that the caller sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "sluice"

# A status travels in a header, and headers are limited: proxies and clients refuse more than 8 KiB.
MAX_FIELDS = 16
MAX_PATH_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that made a call fail.

    `path` is a JSON pointer into the request, `reason` an UPPER_SNAKE_CASE word, `description` a
    sentence that says what to send instead.
    """

    path: str
    reason: str
    description: str


@dataclass(slots=True)
class CallError(Exception):
    """Ends a call with a status and machine-readable details.

    `reason` is a stable UPPER_SNAKE_CASE word for programs (google.rpc.ErrorInfo), `message` a
    sentence for people that says what to do. `retry_after` is in seconds. Of `fields` the first
    MAX_FIELDS are told.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[FieldError] = ()
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}"

    def status(self, request_id: str) -> status_pb2.Status:
        """Return the google.rpc.Status to send; `request_id` names the call in our logs."""
        details: list[Message] = []
        if self.fields:
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(
                            field=_shorten(each.path),
                            reason=each.reason,
                            description=each.description,
                        )
                        for each in self.fields[:MAX_FIELDS]
                    ]
                )
            )
        details.append(
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        )
        if self.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(retry)
        if request_id:
            details.append(error_details_pb2.RequestInfo(request_id=request_id))
        return status_pb2.Status(
            code=self.code.value[0], message=self.message, details=[_pack(each) for each in details]
        )


def _shorten(path: str) -> str:
    if len(path) <= MAX_PATH_CHARACTERS:
        return path
    return path[: MAX_PATH_CHARACTERS - 1] + "…"


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
