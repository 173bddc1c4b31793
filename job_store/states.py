"""Where jobs stand: what a worker reads and writes about a job that it carries out."""

from __future__ import annotations

from dataclasses import dataclass

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


class JobStates:
    """The states of all jobs. Every method raises redis.RedisError and may be repeated then."""

    def __init__(self, client: redis.Redis, keys: Keys = ONLY) -> None:
        self._client = client
        self._keys = keys
        self._update = script(client, "update_record")
        self._finish = script(client, "finish")

    def read(self, job_id: str) -> JobState:
        """Return what is known about a job."""
        with self._client.pipeline(transaction=True) as transaction:
            transaction.hget(*self._keys.record(job_id))
            transaction.hexists(self._keys.open_jobs, job_id)
            record, is_open = transaction.execute()
        return JobState(JobRecord.FromString(record or b""), bool(is_open))

    def update(self, job_id: str, record: JobRecord) -> None:
        """Replace the record of a job, unless the job is closed."""
        records, field = self._keys.record(job_id)
        keys = [records, self._keys.open_jobs]
        self._update(keys=keys, args=[job_id, field, record.SerializeToString()])

    def finish(self, job_id: str, record: JobRecord, failed: int) -> bool:
        """Close a job with its final record and move the counts, at most once.

        `failed` is how many interactions will not be written; a job that was put back is open for
        fewer than it holds. Returns whether this call closed it.
        """
        records, field = self._keys.record(job_id)
        keys = [records, self._keys.open_jobs, self._keys.counts]
        args: list[str | bytes | int] = [job_id, field, record.SerializeToString(), failed]
        return bool(self._finish(keys=keys, args=args))
