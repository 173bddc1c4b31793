"""What Redis holds about unfinished and failed jobs, read in pieces.

Redis does one thing at a time, and there may be a million jobs, so no command asks for more than a
piece. What does not move while all pieces are read is in one of them, some of it in several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from job_store.queues import (
    INTERACTIONS,
    NAMESPACE,
    dead_key,
    dead_messages_key,
    fetched_key,
    messages_key,
    waiting_key,
)
from job_store.records import COUNTS_KEY, OPEN_KEY, RECORDS_PREFIX, place
from worker.dramatiq_queue.dead_letters import CAUSES_KEY
from worker.reconciliation.totals import FIELDS, Counts

CHUNK = 500
"""What one command asks for, so that Redis is back within a millisecond."""
BUCKETS_AT_A_TIME = 20
"""Hashes of job records that are read side by side; each holds the jobs of a second."""
RECORDS_AT_A_TIME = 100
"""Records that one command asks for. A record is 30 bytes, or 100 KB where thousands failed."""
SUSPECTS = 100
"""Jobs that one command looks for in every place, so for each of them in as many as there are
workers."""

HELD, UNPLACED, GONE = range(3)

# KEYS 1 messages. ARGV ids. Returns those without a message. Its values stay where they are: they
# may be a megabyte each.
WITHOUT_MESSAGE = """
local without = {}
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], id) == 0 then
    without[#without + 1] = id
  end
end
return without
"""

# KEYS 1 waiting ids, 2 messages, 3 open jobs, 4 dead ids, 5 dead messages, 6 heartbeats. ARGV 1 and
# 2 what stands before and after a worker's id in the key of what it has fetched, 3 how much of the
# end of the waiting ids to read, 4.. ids. Returns that end, and for each id: 0 when the job is not
# open or its message is here, 1 when its message is in no place looked at, 2 when it has none.
LOOK_FOR = """
local last = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[3]), -1)
local waits = {}
for _, id in ipairs(last) do
  waits[id] = true
end
local workers = redis.call('ZRANGE', KEYS[6], 0, -1)
local function is_here(id)
  if waits[id] then
    return true
  end
  for _, worker in ipairs(workers) do
    if redis.call('SISMEMBER', ARGV[1] .. worker .. ARGV[2], id) == 1 then
      return true
    end
  end
  return false
end
local found = {}
for i = 4, #ARGV do
  local id, state = ARGV[i], 0
  if redis.call('HEXISTS', KEYS[3], id) == 1
    and not (redis.call('ZSCORE', KEYS[4], id) and redis.call('HEXISTS', KEYS[5], id) == 1) then
    if redis.call('HEXISTS', KEYS[2], id) == 0 then
      state = 2
    elseif not is_here(id) then
      state = 1
    end
  end
  found[#found + 1] = state
end
return {last, found}
"""


@dataclass(frozen=True, slots=True)
class Present:
    """What Redis holds about one job now."""

    record: bytes
    is_open: bool
    has_message: bool


class QueueReader:
    """Reads the books and the queue of interactions, in which a message has the id of its job.

    Every method raises redis.RedisError.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._without_message = client.register_script(WITHOUT_MESSAGE)
        self._look_for = client.register_script(LOOK_FOR)

    def counts(self) -> Counts:
        """Return what Redis counts."""
        return _counts(self._client.hmget(COUNTS_KEY, list(FIELDS)))

    def open_jobs(self) -> Iterator[tuple[Counts, list[tuple[str, int]]]]:
        """Yield the jobs that are not done, each with its open interactions, and counts of the
        same moment.
        """
        cursor = 0
        while True:
            with self._client.pipeline(transaction=True) as transaction:
                transaction.hmget(COUNTS_KEY, list(FIELDS))
                transaction.hscan(OPEN_KEY, cursor, count=CHUNK)
                numbers, (cursor, found) = transaction.execute()
            yield _counts(numbers), [(_text(job), int(size)) for job, size in found.items()]
            if cursor == 0:
                return

    def waiting(self, until: str = "") -> Iterator[list[str]]:
        """Yield the jobs whose message no worker has, those that were added last first.

        Messages are added at the end and taken at the beginning, so that reading towards the
        beginning passes all of them. Stops after the piece that holds `until`.
        """
        end = -1
        while True:
            ids = _ids(self._client.lrange(waiting_key(INTERACTIONS), end - CHUNK + 1, end))
            if ids:
                yield ids[::-1]
            if len(ids) < CHUNK or until in ids:
                return
            end -= CHUNK

    def fetched(self) -> Iterator[list[str]]:
        """Yield the jobs whose message a worker has."""
        heartbeats = f"{NAMESPACE}:__heartbeats__"
        for workers in self._pieces(lambda cursor: self._client.zscan(heartbeats, cursor)):
            for worker, _ in workers:
                key = fetched_key(INTERACTIONS, _text(worker))
                yield from self._members(key)

    def dead(self) -> Iterator[list[tuple[str, int]]]:
        """Yield the jobs whose message is a dead letter, each with what was booked as failed."""
        key, messages = dead_key(INTERACTIONS), dead_messages_key(INTERACTIONS)
        for letters in self._pieces(lambda cursor: self._client.zscan(key, cursor, count=CHUNK)):
            ids = [job_id for job_id, _ in letters]
            if not ids:
                continue
            gone = set(_ids(self._without_message(keys=[messages], args=ids)))
            causes = cast(list[bytes | None], self._client.hmget(CAUSES_KEY, ids))
            yield [
                (name, int((cause or b"0").partition(b" ")[0]))
                for name, cause in zip(_ids(ids), causes, strict=True)
                if name not in gone
            ]

    def without_message(self, job_ids: Sequence[str]) -> list[str]:
        """Return those of these jobs, `CHUNK` at most, that have no message."""
        if not job_ids:
            return []
        keys = [messages_key(INTERACTIONS)]
        return _ids(cast(list[bytes], self._without_message(keys=keys, args=list(job_ids))))

    def look_for(self, job_ids: Sequence[str]) -> tuple[list[str], list[int]]:
        """Look for the messages of these jobs, `SUSPECTS` at most, in every place at one moment.

        Returns the last `CHUNK` that wait, as `waiting` does, and for each job GONE when it is open
        and has no message, UNPLACED when it is open and its message is in no place but perhaps
        further ahead among those that wait, otherwise HELD.
        """
        keys = [
            waiting_key(INTERACTIONS),
            messages_key(INTERACTIONS),
            OPEN_KEY,
            dead_key(INTERACTIONS),
            dead_messages_key(INTERACTIONS),
            f"{NAMESPACE}:__heartbeats__",
        ]
        before, _, after = fetched_key(INTERACTIONS, "|").partition("|")
        args: list[str | int] = [before, after, CHUNK, *job_ids]
        last, found = cast(tuple[list[bytes], list[int]], self._look_for(keys=keys, args=args))
        return _ids(last)[::-1], found

    def records(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the records of all jobs."""
        for keys in self._pieces(
            lambda cursor: self._client.scan(cursor, match=f"{RECORDS_PREFIX}*", count=CHUNK)
        ):
            for start in range(0, len(keys), BUCKETS_AT_A_TIME):
                yield from self._buckets(keys[start : start + BUCKETS_AT_A_TIME])

    def look_again(self, job_ids: Sequence[str]) -> list[Present]:
        """Return what is known about these jobs, `CHUNK` at most, at one moment."""
        with self._client.pipeline(transaction=True) as transaction:
            for job_id in job_ids:
                transaction.hget(*place(job_id))
                transaction.hexists(OPEN_KEY, job_id)
                transaction.hexists(messages_key(INTERACTIONS), job_id)
            found = iter(transaction.execute())
        return [
            Present(record or b"", bool(is_open), bool(has_message))
            for record, is_open, has_message in zip(found, found, found, strict=True)
        ]

    def _members(self, key: str) -> Iterator[list[str]]:
        for ids in self._pieces(lambda cursor: self._client.sscan(key, cursor, count=CHUNK)):
            yield _ids(ids)

    def _buckets(self, keys: Sequence[bytes]) -> Iterator[list[tuple[str, bytes]]]:
        """Yield what lies in these hashes of records, a piece of each at a time."""
        cursors = dict.fromkeys(keys, 0)
        while cursors:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, cursor in cursors.items():
                    pipeline.hscan(cast(str, key), cursor, count=RECORDS_AT_A_TIME)
                pieces = dict(zip(cursors, pipeline.execute(), strict=True))
            yield [
                (_text(key).removeprefix(RECORDS_PREFIX) + _text(field), record)
                for key, (_, records) in pieces.items()
                for field, record in records.items()
            ]
            cursors = {key: cursor for key, (cursor, _) in pieces.items() if cursor}

    @staticmethod
    def _pieces(scan: Callable[[int], Any]) -> Iterator[list[Any]]:
        """Yield every piece of what one of Redis' SCAN commands goes through."""
        cursor = 0
        while True:
            cursor, found = scan(cursor)
            yield found
            if cursor == 0:
                return


def _counts(numbers: Any) -> Counts:
    return Counts(*(int(number or 0) for number in numbers))


def _ids(found: Any) -> list[str]:
    return list(map(_text, found))


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
