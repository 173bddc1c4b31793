"""Tasks: what a caller may know about one interaction of a job. Pure."""

from __future__ import annotations

import re

import grpc
from ulid import ULID

from mesh.errors import CallError
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.job.v1 import job_pb2 as job

_TASK_ID = re.compile(r"(?P<job>[0-7][0-9A-HJKMNP-TV-Z]{25})-(?P<index>0|[1-9][0-9]{0,5})")

_STATES = {
    job.JOB_STATE_PENDING: ingest.TASK_STATE_PENDING,
    job.JOB_STATE_RUNNING: ingest.TASK_STATE_RUNNING,
    job.JOB_STATE_RETRYING: ingest.TASK_STATE_RETRYING,
    job.JOB_STATE_SUCCEEDED: ingest.TASK_STATE_SUCCEEDED,
    job.JOB_STATE_FAILED: ingest.TASK_STATE_FAILED,
}
_RESULTS = {
    ingest.TASK_STATE_PENDING: "Waiting in the queue.",
    ingest.TASK_STATE_RUNNING: "A worker is writing it.",
    ingest.TASK_STATE_RETRYING: "The database did not take it; the worker keeps trying.",
    ingest.TASK_STATE_SUCCEEDED: "Written to the database.",
    ingest.TASK_STATE_FAILED: "The database refused it; it is kept for replay by the operator.",
}
FINAL = frozenset({ingest.TASK_STATE_SUCCEEDED, ingest.TASK_STATE_FAILED})


def parse(task_id: str) -> tuple[str, int]:
    """Return a task's job id and its index in the job. Raises CallError TASK_UNKNOWN."""
    match = _TASK_ID.fullmatch(task_id)
    if match is None:
        raise unknown()
    return match["job"], int(match["index"])


def task_of(
    task_id: str, index: int, record: job.JobRecord | None, retention_seconds: int, now: float
) -> ingest.GetStatusResponse:
    """Return the task as its job's record tells it.

    `now` is in seconds since 1970. Raises CallError: TASK_EXPIRED when there is no record and the
    id is older than the retention, TASK_UNKNOWN when the id is none that was given out.
    """
    if record is None:
        accepted = ULID.from_str(task_id[:26]).timestamp
        if accepted + retention_seconds < now:
            raise CallError(
                grpc.StatusCode.NOT_FOUND,
                "TASK_EXPIRED",
                "The task is older than the time for which states are kept.",
            )
        raise unknown()
    if index >= record.size:
        raise unknown()
    state = _STATES[record.state]
    last_error = record.last_error
    for failure in record.failures:
        if failure.index == index:
            state, last_error = ingest.TASK_STATE_FAILED, failure.error_class
    task = ingest.GetStatusResponse(
        task_id=task_id,
        state=state,
        result=_RESULTS[state],
        attempts=record.attempts,
        last_error=last_error,
        accept_time=record.accept_time,
    )
    task.expire_time.seconds = record.accept_time.seconds + retention_seconds
    task.expire_time.nanos = record.accept_time.nanos
    if record.HasField("start_time"):
        task.start_time.CopyFrom(record.start_time)
    if record.HasField("end_time"):
        task.end_time.CopyFrom(record.end_time)
    return task


def unknown() -> CallError:
    """Return the error for an id that was never given out."""
    return CallError(
        grpc.StatusCode.NOT_FOUND,
        "TASK_UNKNOWN",
        "There is no such task. Use the task_id of a receipt.",
    )
