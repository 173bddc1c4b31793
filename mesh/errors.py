"""Errors as callers see them: one shape at every hop, and never a value that the caller sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "sluice"

STATUS_ROOM = 4096
"""Bytes that the fields and the metadata of a status may take. A status travels in a header as
base64, a third longer, and clients and proxies refuse headers of more than 8 KiB in all."""
MAX_FIELDS = 16
MAX_PATH_CHARACTERS = 120
MAX_REQUEST_ID_CHARACTERS = 128
FIELD_FRAME_BYTES = 64
"""What JSON puts round a field: names, quotes, brackets."""


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
    sentence for people that says what to do. `retry_after` is in seconds.

    Of `fields` the first MAX_FIELDS are told, or as many as there is room for, and of a value of
    `metadata` that lists something as much; an ellipsis or `field_count` then says so.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[FieldError] = ()
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}"

    def status(self, request_id: str, room: int = STATUS_ROOM) -> status_pb2.Status:
        """Return the google.rpc.Status to send; `request_id` names the call in our logs.

        `room` is how many bytes fields and metadata may take, on the wire as well as in JSON.
        """
        details: list[Message] = []
        metadata = {}
        for name, value in self.metadata.items():
            metadata[name] = _fitted(value, room // 2)
            room -= _bytes(name) + _bytes(metadata[name])
        violations: list[error_details_pb2.BadRequest.FieldViolation] = []
        for each in self.fields[:MAX_FIELDS]:
            path, description = _shorten(each.path), each.description
            room -= FIELD_FRAME_BYTES + _bytes(path) + _bytes(each.reason)
            if not violations and room < _bytes(description):
                # Where one field is, is worth more than what to do about it.
                description = ""
            room -= _bytes(description)
            if room < 0:
                break
            violations.append(
                error_details_pb2.BadRequest.FieldViolation(
                    field=path, reason=each.reason, description=description
                )
            )
        if violations:
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if len(violations) < len(self.fields):
            metadata["field_count"] = str(len(self.fields))
        details.append(
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata)
        )
        if self.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(retry)
        if request_id:
            shown = request_id[:MAX_REQUEST_ID_CHARACTERS]
            details.append(error_details_pb2.RequestInfo(request_id=shown))
        return status_pb2.Status(
            code=self.code.value[0], message=self.message, details=[_pack(each) for each in details]
        )


def _bytes(text: str) -> int:
    """Return the most bytes that a text takes: as JSON, with everything escaped that may be."""
    return len(json.dumps(text)) + 5 * sum(map(text.count, "<>&"))


def _fitted(names: str, room: int) -> str:
    """Return names that are joined by commas, as many as there is room for."""
    if _bytes(names) <= room:
        return names
    kept: list[str] = []
    for name in names.split(","):
        room -= _bytes(name)
        if room < _bytes("…"):
            break
        kept.append(name)
    return ",".join([*kept, "…"])


def _shorten(path: str) -> str:
    if len(path) <= MAX_PATH_CHARACTERS:
        return path
    return path[: MAX_PATH_CHARACTERS - 1] + "…"


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
