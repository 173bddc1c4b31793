"""The rules of shape that a submission must keep. Pure; the contract states them to callers."""

from __future__ import annotations

import re

from ingest_service.fields import Fields
from mesh.errors import FieldError
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_BYTES = 1024 * 1024
MAX_BATCH = 5000

_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_NAME_RULE = "Send at most 128 characters out of letters, digits and ._:/@- only."


def is_name(text: str) -> bool:
    """Tell whether `text` may be a source or a request id."""
    return _NAME.fullmatch(text) is not None


def violations_of(request: SubmitRequest, fields: Fields) -> list[FieldError]:
    """Return every rule that `request` breaks, none when it keeps them all.

    `fields` is a walk over its data with MAX_DEPTH. Descriptions never repeat what was sent.
    """
    found = []
    if not request.HasField("data"):
        found.append(FieldError("/data", "MISSING", "data is missing. Send any JSON value."))
    elif request.data.HasField("null_value"):
        found.append(FieldError("/data", "NULL", "data is null. Send any other JSON value."))
    if request.ByteSize() > MAX_BYTES:
        found.append(
            FieldError("/data", "TOO_LONG", "The submission is too long. Send at most 1 MiB.")
        )
    if fields.nodes > MAX_NODES:
        found.append(
            FieldError("/data", "TOO_MANY_VALUES", "data is too large. Send at most 10,000 values.")
        )
    if fields.too_deep is not None:
        found.append(
            FieldError("/data", "TOO_DEEP", "data is nested too deeply. Send at most 32 levels.")
        )
    found += [
        FieldError(fields.place_pointer(place), "UNSET", "The value has no kind. Set one.")
        for place in fields.unset
        if request.HasField("data")
    ]
    found += [
        FieldError(fields.pointer(index), "NOT_FINITE", "Send a finite number, or a string.")
        for index in fields.non_finite
    ]
    found += [
        FieldError(
            fields.pointer(index),
            "INEXACT_INTEGER",
            "An integer of 2^53 or more may change on its way. Send it as a string.",
        )
        for index in fields.inexact
    ]
    found += [
        FieldError(fields.pointer(index), "NUL", "The text holds a NUL character. Remove it.")
        for index in fields.with_nul()
    ]
    if request.source and not _NAME.fullmatch(request.source):
        found.append(FieldError("/source", "BAD_NAME", _NAME_RULE))
    if request.request_id and not _NAME.fullmatch(request.request_id):
        found.append(FieldError("/request_id", "BAD_NAME", _NAME_RULE))
    return found
