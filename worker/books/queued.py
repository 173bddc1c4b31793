"""What Redis holds about unfinished and failed jobs, all of it at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from sluice.job.v1.job_pb2 import JobRecord
from worker.books.totals import Totals
from worker.dead_letters import CAUSES_KEY
from worker.queues import (
    INTERACTIONS,
    NAMESPACE,
    dead_key,
    dead_messages_key,
    fetched_key,
    messages_key,
    waiting_key,
)
from worker.records import BUCKET_CHARACTERS, COUNTS_KEY, OPEN_KEY, RECORDS_PREFIX, place

CHUNK = 500
SECONDS_AT_A_TIME = 20
"""Hashes of job records that are read in one go; each holds the jobs of a second."""

# KEYS 1 counts, 2 open jobs, 3 waiting ids, 4 messages, 5 dead ids, 6 dead messages, 7 causes,
# 8 heartbeats. ARGV 1 and 2 what stands before and after a worker's id in the key of what it has
# fetched, 3 prefix of the hashes of job records, 4 how many characters of a job's id follow it.
# Only reads. The last part is the messages without an open job, each with the job's record.
READ = """
local fetched = {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
  for _, id in ipairs(redis.call('SMEMBERS', ARGV[1] .. worker .. ARGV[2])) do
    fetched[#fetched + 1] = id
  end
end
local messages = redis.call('HKEYS', KEYS[4])
local closed = {}
for _, id in ipairs(messages) do
  if redis.call('HEXISTS', KEYS[2], id) == 0 then
    closed[#closed + 1] = id
    local records, field = ARGV[3] .. string.sub(id, 1, ARGV[4]), string.sub(id, ARGV[4] + 1)
    closed[#closed + 1] = redis.call('HGET', records, field) or ''
  end
end
return {
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('LRANGE', KEYS[3], 0, -1),
  messages,
  fetched,
  redis.call('ZRANGE', KEYS[5], 0, -1),
  redis.call('HKEYS', KEYS[6]),
  redis.call('HGETALL', KEYS[7]),
  closed,
}
"""


@dataclass(frozen=True, slots=True)
class Queued:
    """The queue of interactions and the books about it. A message has the id of its job."""

    totals: Totals
    open: dict[str, int]
    """Interactions not yet written or failed, by job."""
    waiting: set[str]
    """Jobs whose message no worker has."""
    fetched: set[str]
    """Jobs whose message a worker has."""
    dead: dict[str, int]
    """Interactions booked as failed because of it, by job whose message is a dead letter."""
    closed: dict[str, JobRecord]
    """Records of jobs that are done and whose message is still there, to be acknowledged, made a
    dead letter, or delivered again."""

    def place(self, job_id: str) -> str:
        """Return where the message of a job is, or nothing when it is gone."""
        places = {"waiting": self.waiting, "fetched": self.fetched, "dead": self.dead}
        return next((name for name, ids in places.items() if job_id in ids), "")

    @property
    def explained(self) -> int:
        """How many failed interactions lie in a dead letter or are about to."""
        pending = sum(len(record.failures) for record in self.closed.values())
        return sum(self.dead.values()) + pending


@dataclass(frozen=True, slots=True)
class Present:
    """What Redis holds about one job now."""

    record: bytes
    is_open: bool


class QueueReader:
    """Reads the books. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._read = client.register_script(READ)

    def read(self) -> Queued:
        """Return the state of the queue."""
        keys = [
            COUNTS_KEY,
            OPEN_KEY,
            waiting_key(INTERACTIONS),
            messages_key(INTERACTIONS),
            dead_key(INTERACTIONS),
            dead_messages_key(INTERACTIONS),
            CAUSES_KEY,
            f"{NAMESPACE}:__heartbeats__",
        ]
        before, _, after = fetched_key(INTERACTIONS, "|").partition("|")
        args: list[str | int] = [before, after, RECORDS_PREFIX, BUCKET_CHARACTERS]
        answer = cast(list[list[bytes]], self._read(keys=keys, args=args))
        counts, opened, waiting, messages, fetched, dead, letters, causes, closed = answer
        numbers = {name: int(number) for name, number in _pairs(counts)}
        still_open = {job_id: int(number) for job_id, number in _pairs(opened)}
        kept = _ids(messages)
        why = dict(_pairs(causes))
        return Queued(
            totals=Totals(
                numbers.get("accepted", 0),
                numbers.get("written", 0),
                numbers.get("failed", 0),
                sum(still_open.values()),
            ),
            open=still_open,
            waiting=_ids(waiting) & kept,
            fetched=_ids(fetched) & kept,
            dead={
                job_id: int(why.get(job_id, b"0").partition(b" ")[0])
                for job_id in _ids(dead) & _ids(letters)
            },
            closed={job_id: JobRecord.FromString(record) for job_id, record in _pairs(closed)},
        )

    def records(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the records of all jobs in pieces, some of them more than once."""
        cursor = 0
        while True:
            cursor, keys = cast(
                tuple[int, list[bytes]],
                self._client.scan(cursor, match=f"{RECORDS_PREFIX}*", count=CHUNK),
            )
            for start in range(0, len(keys), SECONDS_AT_A_TIME):
                some = keys[start : start + SECONDS_AT_A_TIME]
                with self._client.pipeline(transaction=False) as pipeline:
                    for key in some:
                        pipeline.hgetall(key)
                    found = cast(list[dict[bytes, bytes]], pipeline.execute())
                yield [
                    (_text(key).removeprefix(RECORDS_PREFIX) + _text(field), record)
                    for key, records in zip(some, found, strict=True)
                    for field, record in records.items()
                ]
            if cursor == 0:
                return

    def look_again(self, job_ids: Sequence[str]) -> list[Present]:
        """Return what is known about these jobs, at one moment."""
        with self._client.pipeline(transaction=True) as transaction:
            for job_id in job_ids:
                transaction.hget(*place(job_id))
                transaction.hexists(OPEN_KEY, job_id)
            found = iter(transaction.execute())
        return [
            Present(record or b"", bool(is_open))
            for record, is_open in zip(found, found, strict=True)
        ]


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, bytes]]:
    return zip(map(_text, flat[::2]), flat[1::2], strict=True)


def _ids(found: list[bytes]) -> set[str]:
    return set(map(_text, found))


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
