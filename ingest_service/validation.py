"""The rules of shape that a submission must keep. Pure; the contract states them to callers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from detection.fields import Fields, Place
from ingest_service.named_fields import named_texts
from mesh.errors import FieldError
from sluice.ingest.v1.ingest_service_pb2 import (
    SubmitBatchRequest,
    SubmitRequest,
    SubmitStreamRequest,
)

MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_BYTES = 1024 * 1024
MAX_BATCH = 5000

MAX_LISTED = 100
MAX_LISTED_BYTES = 20 * 1024
"""Of the paths of what is listed: alerts, errors and answers stay small whatever was sent."""


@dataclass(slots=True)
class Violations:
    """The rules of shape that a submission breaks: as many as there is room for, and how many."""

    listed: list[FieldError]
    count: int

    def add(self, violation: FieldError) -> None:
        """Add one of the submission as a whole."""
        self.listed.insert(0, violation)
        self.count += 1


def violations_of(
    request: SubmitRequest, fields: Fields, renamed: Mapping[Place, str] | None = None
) -> Violations:
    """Return every rule that `request` breaks, none when it keeps them all.

    `fields` is a walk over its data with MAX_DEPTH and MAX_NODES, `renamed` the object keys that
    must not be shown. Descriptions never repeat what was sent.
    """
    found = list(_of_the_whole(request, fields))
    nul = fields.with_nul()
    count = len(found) + len(fields.non_finite) + len(fields.inexact) + len(nul)
    if request.HasField("data"):
        count += len(fields.unset)
    room = MAX_LISTED_BYTES
    if count > len(found):
        for each in _of_values(request, fields, nul, renamed):
            room -= len(each.path.encode())
            if room < 0 or len(found) == MAX_LISTED:
                break
            found.append(each)
    return Violations(found, count)


def _of_the_whole(request: SubmitRequest, fields: Fields) -> Iterator[FieldError]:
    if not request.HasField("data"):
        yield FieldError("/data", "MISSING", "data is missing. Send any JSON value.")
    elif request.data.HasField("null_value"):
        yield FieldError("/data", "NULL", "data is null. Send any other JSON value.")
    if request.ByteSize() > MAX_BYTES:
        yield FieldError("/data", "TOO_LONG", "The submission is too long. Send at most 1 MiB.")
    if fields.too_many:
        yield FieldError(
            "/data", "TOO_MANY_VALUES", "data is too large. Send at most 10,000 values."
        )
    if fields.too_deep is not None:
        yield FieldError("/data", "TOO_DEEP", "data is nested too deeply. Send at most 32 levels.")
    if fields.long_key:
        yield FieldError(
            "/data", "KEY_TOO_LONG", "A key is too long. Send keys of at most 1,024 characters."
        )
    if fields.long_path:
        yield FieldError(
            "/data",
            "PATH_TOO_LONG",
            "The keys above a value are too long. Send at most 4,096 characters, all together.",
        )
    for field, text in named_texts(request):
        if not field.pattern.fullmatch(text):
            yield FieldError(field.path, "BAD_NAME", field.rule)


def _of_values(
    request: SubmitRequest, fields: Fields, nul: list[int], renamed: Mapping[Place, str] | None
) -> Iterator[FieldError]:
    if request.HasField("data"):
        for place in fields.unset:
            path = fields.place_pointer(place, renamed)
            yield FieldError(path, "UNSET", "The value has no kind. Set one.")
    for index in fields.non_finite:
        path = fields.pointer(index, renamed)
        yield FieldError(path, "NOT_FINITE", "Send a finite number, or a string.")
    for index in fields.inexact:
        yield FieldError(
            fields.pointer(index, renamed),
            "INEXACT_INTEGER",
            "An integer of 2^53 or more may change on its way. Send it as a string.",
        )
    for index in nul:
        path = fields.pointer(index, renamed)
        yield FieldError(path, "NUL", "The text holds a NUL character. Remove it.")


def batch_violations(batch: SubmitBatchRequest | SubmitStreamRequest) -> Sequence[FieldError]:
    """Return the rules that a batch breaks as a whole, whatever the policy is."""
    if not 1 <= len(batch.submissions) <= MAX_BATCH:
        return [FieldError("/submissions", "BAD_COUNT", "Send 1 to 5000 submissions at a time.")]
    if not batch.request_id:
        return ()
    return [
        FieldError(
            f"/submissions/{index}/request_id",
            "TWO_IDS",
            "Send a request_id with the batch or with its submissions, not with both.",
        )
        for index, submission in enumerate(batch.submissions)
        if submission.request_id
    ][:1]
