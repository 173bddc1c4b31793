"""Errors as callers see them: one shape everywhere, and never a value that the caller sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "sluice"

MAX_STATUS_BYTES = 4096
"""Size of the fields and the metadata of a status. A status is sent in a header as base64, which is
a third longer, and clients and proxies refuse headers of more than 8 KiB in all."""
MAX_FIELDS = 16
MAX_PATH_CHARACTERS = 120
MAX_REQUEST_ID_CHARACTERS = 128
FIELD_FRAME_BYTES = 64
"""What JSON adds around a field: names, quotes, brackets."""


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

    Of `fields` the first MAX_FIELDS are sent, or as many as fit, and of names in a value of
    `metadata` as many as fit; `field_count` or an ellipsis then says that there are more.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[FieldError] = ()
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}"

    def retry_info(self) -> error_details_pb2.RetryInfo | None:
        """Return the google.rpc.RetryInfo that says when to repeat the call, None where not."""
        if self.retry_after is None:
            return None
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
        return retry

    def status(self, request_id: str, max_bytes: int = MAX_STATUS_BYTES) -> status_pb2.Status:
        """Return the google.rpc.Status to send; `request_id` names the call in our logs.

        `max_bytes` is how much fields and metadata may take, on the wire as well as in JSON.
        """
        details: list[Message] = []
        metadata = {}
        left = max_bytes
        for name, value in self.metadata.items():
            metadata[name] = _fitted(value, left // 2)
            left -= _bytes(name) + _bytes(metadata[name])
        violations: list[error_details_pb2.BadRequest.FieldViolation] = []
        for each in self.fields[:MAX_FIELDS]:
            path, description = _shorten(each.path), each.description
            left -= FIELD_FRAME_BYTES + _bytes(path) + _bytes(each.reason)
            if not violations and left < _bytes(description):
                # The path of one field is worth more than its description.
                description = ""
            left -= _bytes(description)
            if left < 0:
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
        if (retry := self.retry_info()) is not None:
            details.append(retry)
        if request_id:
            shown = request_id[:MAX_REQUEST_ID_CHARACTERS]
            details.append(error_details_pb2.RequestInfo(request_id=shown))
        return status_pb2.Status(
            code=self.code.value[0], message=self.message, details=[_pack(each) for each in details]
        )


_encode = json.JSONEncoder().encode


def _bytes(text: str) -> int:
    """Return the most bytes that a text takes: as JSON, with everything escaped that may be."""
    return len(_encode(text)) + 5 * (text.count("<") + text.count(">") + text.count("&"))


def _fitted(names: str, left: int) -> str:
    """Return names that are joined by commas, as many as fit."""
    if _bytes(names) <= left:
        return names
    kept: list[str] = []
    for name in names.split(","):
        left -= _bytes(name)
        if left < _bytes("…"):
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
