"""The books of a job in Redis: its record, whether it is open, and how the counts move.

`sluice:open` holds a job from the moment it is accepted until every interaction in it is written
or failed. It, and not the record, says whether work is left: the record expires, and says what a
caller is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import redis

from sluice.job.v1.job_pb2 import (
    JOB_STATE_FAILED,
    JOB_STATE_SUCCEEDED,
    JobRecord,
)

RECORD_PREFIX = "sluice:job:"
OPEN_KEY = "sluice:open"
COUNTS_KEY = "sluice:counts"

FINAL = (JOB_STATE_SUCCEEDED, JOB_STATE_FAILED)

# Another worker may have finished the job meanwhile, when this one was taken for dead: what is
# final stays. KEYS 1 record, 2 open jobs. ARGV 1 job id, 2 record.
UPDATE = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('SET', KEYS[1], ARGV[2], 'XX', 'KEEPTTL')
end
"""

# KEYS 1 record, 2 open jobs, 3 counts. ARGV 1 job id, 2 record, 3 failed interactions.
# Returns 1 when this call closed the job, 0 when it was closed before.
FINISH = """
local open = tonumber(redis.call('HGET', KEYS[2], ARGV[1]))
if not open then
  return 0
end
local failed = math.min(tonumber(ARGV[3]), open)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'written', open - failed)
redis.call('HINCRBY', KEYS[3], 'failed', failed)
redis.call('SET', KEYS[1], ARGV[2], 'XX', 'KEEPTTL')
return 1
"""


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
        self._update = client.register_script(UPDATE)
        self._finish = client.register_script(FINISH)

    def read(self, job_id: str) -> Books:
        """Return what is known about a job."""
        with self._client.pipeline(transaction=True) as transaction:
            transaction.get(RECORD_PREFIX + job_id)
            transaction.hexists(OPEN_KEY, job_id)
            record, is_open = transaction.execute()
        return Books(JobRecord.FromString(record or b""), bool(is_open))

    def update(self, job_id: str, record: JobRecord) -> None:
        """Replace the record of a job, unless the job is closed."""
        self._update(
            keys=[RECORD_PREFIX + job_id, OPEN_KEY], args=[job_id, record.SerializeToString()]
        )

    def finish(self, job_id: str, record: JobRecord, failed: int) -> bool:
        """Close a job with its final record and move the counts, at most once.

        `failed` is how many interactions will not be written; a job that was put back is open for
        fewer than it holds. Returns whether this call closed it.
        """
        keys = [RECORD_PREFIX + job_id, OPEN_KEY, COUNTS_KEY]
        return bool(self._finish(keys=keys, args=[job_id, record.SerializeToString(), failed]))
