from datetime import UTC, datetime, timedelta

import pytest
from ulid import ULID

from ingest_service import tasks
from mesh.errors import CallError
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.job.v1 import job_pb2 as job

RETENTION = timedelta(days=7)
NOW = datetime(2026, 5, 12, 14, 30, tzinfo=UTC)
JOB_ID = str(ULID.from_datetime(NOW - timedelta(minutes=1)))


def record(**fields: object) -> job.JobRecord:
    made = job.JobRecord(state=job.JOB_STATE_PENDING, size=3)
    made.accept_time.FromDatetime(NOW)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def read(index: int, found: job.JobRecord | None, now: datetime = NOW) -> ingest.GetStatusResponse:
    return tasks.task_of(
        f"{JOB_ID}-{index}", index, found, int(RETENTION.total_seconds()), now.timestamp()
    )


@pytest.mark.parametrize(
    "state",
    ["PENDING", "RUNNING", "RETRYING", "SUCCEEDED", "FAILED"],
)
def test_a_task_has_the_state_of_its_job(state: str) -> None:
    task = read(0, record(state=job.JobState.Value(f"JOB_STATE_{state}"), attempts=4))
    assert ingest.TaskState.Name(task.state) == f"TASK_STATE_{state}"
    assert task.attempts == 4
    assert task.result
    assert task.expire_time.ToDatetime(UTC) == NOW + RETENTION


def test_an_interaction_that_was_refused_fails_alone() -> None:
    found = record(state=job.JOB_STATE_SUCCEEDED)
    found.failures.add(index=1, error_class="FIELD_TYPE_CONFLICT")
    assert read(0, found).state == ingest.TASK_STATE_SUCCEEDED
    failed = read(1, found)
    assert failed.state == ingest.TASK_STATE_FAILED
    assert failed.last_error == "FIELD_TYPE_CONFLICT"


@pytest.mark.parametrize(
    ("index", "found", "now", "reason"),
    [
        (3, record(), NOW, "TASK_UNKNOWN"),
        (0, None, NOW, "TASK_UNKNOWN"),
        (0, None, NOW + RETENTION, "TASK_EXPIRED"),
        (0, None, datetime(1970, 1, 2, tzinfo=UTC), "TASK_UNKNOWN"),
    ],
)
def test_a_task_that_is_not_there_says_why(
    index: int, found: job.JobRecord | None, now: datetime, reason: str
) -> None:
    with pytest.raises(CallError) as caught:
        read(index, found, now)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "task_id", ["", "abc", JOB_ID, f"{JOB_ID}-", f"{JOB_ID}-01", f"{JOB_ID}-x", f"{JOB_ID}-1\n"]
)
def test_what_is_no_task_id_is_unknown(task_id: str) -> None:
    with pytest.raises(CallError) as caught:
        tasks.parse(task_id)
    assert caught.value.reason == "TASK_UNKNOWN"
