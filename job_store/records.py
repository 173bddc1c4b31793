"""The books of a job in Redis: its record, whether it is open, and how the counts move.

The records of the jobs of one second lie in one hash, which expires as a whole.

`sluice:open` holds a job from the moment it is accepted until every interaction in it is written
or failed. It, and not the record, says whether work is left: the record expires, and says what a
caller is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import redis

from job_store.queues import ALLOW_OOM
from sluice.job.v1.job_pb2 import (
    JOB_STATE_FAILED,
    JOB_STATE_SUCCEEDED,
    JobRecord,
)

RECORDS_PREFIX = "sluice:jobs:"
BUCKET_CHARACTERS = 8
"""How much of a job id names the hash of its record; the rest is the field."""
OPEN_KEY = "sluice:open"
COUNTS_KEY = "sluice:counts"

FINAL = (JOB_STATE_SUCCEEDED, JOB_STATE_FAILED)

# Another worker may have finished the job meanwhile, when this one was taken for dead: what is
# final stays. A record that has expired stays away.
# KEYS 1 records, 2 open jobs. ARGV 1 job id, 2 field, 3 record.
UPDATE = """
local open = redis.call('HEXISTS', KEYS[2], ARGV[1])
if open == 1 and redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
"""

# KEYS 1 records, 2 open jobs, 3 counts. ARGV 1 job id, 2 field, 3 record, 4 failed interactions.
# Returns 1 when this call closed the job, 0 when it was closed before.
FINISH = """
local open = tonumber(redis.call('HGET', KEYS[2], ARGV[1]))
if not open then
  return 0
end
local failed = math.min(tonumber(ARGV[4]), open)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'written', open - failed)
redis.call('HINCRBY', KEYS[3], 'failed', failed)
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
return 1
"""


def place(job_id: str) -> tuple[str, str]:
    """Return the hash and the field in which a job's record lies."""
    return RECORDS_PREFIX + job_id[:BUCKET_CHARACTERS], job_id[BUCKET_CHARACTERS:]


@dataclass(frozen=True, slots=True)
class Books:
    """What Redis holds about a job. `record` is empty when it has expired."""

    record: JobRecord
    is_open: bool

    @property
    def is_settled(self) -> bool:
        """Whether it is proven that nothing is left to do for the job."""
        return not self.is_open and self.record.state in FINAL


class Records:
    """The books of all jobs. Every method raises redis.RedisError and may be repeated then."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._update = client.register_script(ALLOW_OOM + UPDATE)
        self._finish = client.register_script(ALLOW_OOM + FINISH)

    def read(self, job_id: str) -> Books:
        """Return what is known about a job."""
        with self._client.pipeline(transaction=True) as transaction:
            transaction.hget(*place(job_id))
            transaction.hexists(OPEN_KEY, job_id)
            record, is_open = transaction.execute()
        return Books(JobRecord.FromString(record or b""), bool(is_open))

    def update(self, job_id: str, record: JobRecord) -> None:
        """Replace the record of a job, unless the job is closed."""
        records, field = place(job_id)
        self._update(keys=[records, OPEN_KEY], args=[job_id, field, record.SerializeToString()])

    def finish(self, job_id: str, record: JobRecord, failed: int) -> bool:
        """Close a job with its final record and move the counts, at most once.

        `failed` is how many interactions will not be written; a job that was put back is open for
        fewer than it holds. Returns whether this call closed it.
        """
        records, field = place(job_id)
        args: list[str | bytes | int] = [job_id, field, record.SerializeToString(), failed]
        return bool(self._finish(keys=[records, OPEN_KEY, COUNTS_KEY], args=args))
