"""What the server says about submissions and calls, as what their caller gets. Pure."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from sluice.ingest.v1.ingest_service_pb2 import SubmitResult
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED
from sluice_client.errors import CallFailed, Refused, RefusedField

DETAILS = "grpc-status-details-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}
TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
"""What may be different when a call is repeated. A proxy or a broken connection answers by the last
two as well as by the others."""


LONGEST_RETRY_SECONDS = 3600.0
"""No delay is longer, whatever a server says: threads cannot wait for ten thousand years."""


class Receipt(NamedTuple):
    """The submission is durable; it becomes exactly one row in the database."""

    task_id: str


class Failure(Exception):
    """A call failed, or a submission of it did. `retry_after` is in seconds, 0 if none is told."""

    def __init__(self, error: CallFailed, retry_after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Whether it may be repeated as it is."""
        return self.error.code in TRANSIENT


def outcome_of(result: SubmitResult) -> Receipt | Failure:
    """Return what became of one submission of a piece."""
    if result.verdict == VERDICT_ACCEPTED:
        return Receipt(result.task_id)
    return failure_of(result.error)


def failed_call(call: Any) -> Failure:
    """Return why a call failed. `call` is an error of gRPC, or a call that has ended."""
    code = call.code() or grpc.StatusCode.UNKNOWN
    for name, value in call.trailing_metadata() or ():
        if name == DETAILS:
            try:
                return failure_of(Status.FromString(value))
            except DecodeError:
                break
    return Failure(CallFailed(code, "", call.details() or ""))


def failure_of(status: Status) -> Failure:
    """Return the failure that a status tells, with its details."""
    info, bad, retry, request = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.RequestInfo(),
    )
    for packed in status.details:
        for detail in (info, bad, retry, request):
            with suppress(DecodeError):
                packed.Unpack(detail)
    code = CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    metadata = dict(info.metadata)
    if code is grpc.StatusCode.INVALID_ARGUMENT and "alert_id" in metadata:
        fields = tuple(
            RefusedField(each.field, each.reason, each.description) for each in bad.field_violations
        )
        count = metadata.get("field_count", "")
        error: CallFailed = Refused(
            info.reason,
            status.message,
            request.request_id,
            metadata["alert_id"],
            tuple(filter(None, metadata.get("detectors", "").split(","))),
            fields,
            int(count) if count.isdecimal() else len(fields),
        )
    else:
        error = CallFailed(code, info.reason, status.message, request.request_id)
    retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return Failure(error, min(max(0.0, retry_after), LONGEST_RETRY_SECONDS))
