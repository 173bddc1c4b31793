"""Where jobs stand: what a worker reads and writes about the jobs that it carries out.

A worker carries out several jobs at a time, so each of these is one step for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import redis

from job_store.keys import ONLY, Keys
from job_store.scripts import script
from sluice.job.v1.job_pb2 import JOB_STATE_FAILED, JOB_STATE_SUCCEEDED, JobRecord

FINAL = (JOB_STATE_SUCCEEDED, JOB_STATE_FAILED)


@dataclass(frozen=True, slots=True)
class JobState:
    """What Redis holds about a job. `record` is empty when it has expired."""

    record: JobRecord
    is_open: bool

    @property
    def is_settled(self) -> bool:
        """Whether it is proven that nothing is left to do for the job."""
        return not self.is_open and self.record.state in FINAL


class Finish(NamedTuple):
    """The end of a job: its final record, and how many interactions will not be written."""

    job_id: str
    record: JobRecord
    failed: int


class JobStates:
    """The states of all jobs. Every method raises redis.RedisError and may be repeated then."""

    def __init__(self, client: redis.Redis, keys: Keys = ONLY) -> None:
        self._keys = keys
        self._read = script(client, "read_states")
        self._update = script(client, "update_records")
        self._finish = script(client, "finish")

    def read(self, job_ids: Sequence[str]) -> list[JobState]:
        """Return what is known about each job. Raises DecodeError for a damaged record."""
        keys, args = [self._keys.open_jobs], list[str]()
        for job_id in job_ids:
            records, field = self._keys.record(job_id)
            keys.append(records)
            args += (job_id, field)
        found = cast("list[Any]", self._read(keys=keys, args=args))
        return [
            JobState(JobRecord.FromString(record or b""), bool(is_open))
            for record, is_open in zip(found[::2], found[1::2], strict=True)
        ]

    def update(self, changed: Sequence[tuple[str, JobRecord]]) -> None:
        """Replace the records of jobs, given with their ids, unless the job is closed."""
        keys, args = [self._keys.open_jobs], list[str | bytes]()
        for job_id, record in changed:
            records, field = self._keys.record(job_id)
            keys.append(records)
            args += (job_id, field, record.SerializeToString())
        self._update(keys=keys, args=args)

    def finish(self, finished: Sequence[Finish]) -> list[bool]:
        """Close jobs with their final records and move the counts, each at most once.

        A job that was put back is open for fewer interactions than it holds. Returns which of them
        this call closed.
        """
        keys, args = [self._keys.counts, self._keys.open_jobs], list[str | bytes | int]()
        for job_id, record, failed in finished:
            records, field = self._keys.record(job_id)
            keys.append(records)
            args += (job_id, field, record.SerializeToString(), failed)
        return [bool(closed) for closed in cast("list[int]", self._finish(keys=keys, args=args))]
