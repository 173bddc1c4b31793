"""What Redis holds about unfinished and failed jobs, read in pieces.

Redis does one thing at a time, and there may be a million jobs, so no command asks for more than a
piece. What does not move while all pieces are read is in one of them, some of it in several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from job_store.counts import FIELDS, Counts
from job_store.keys import INTERACTIONS, ONLY, Keys
from job_store.scripts import script

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


@dataclass(frozen=True, slots=True)
class StoredJob:
    """What Redis holds about one job now."""

    record: bytes
    is_open: bool
    has_message: bool


class SnapshotReader:
    """Reads states, counts and the queue of interactions, where a message has the id of its job.

    Every method raises redis.RedisError.
    """

    def __init__(self, client: redis.Redis, keys: Keys = ONLY) -> None:
        self._client = client
        self._keys = keys
        self._without_message = script(client, "without_message")
        self._look_for = script(client, "look_for")

    def counts(self) -> Counts:
        """Return what Redis counts."""
        return Counts.of(self._client.hmget(self._keys.counts, list(FIELDS)))

    def open_jobs(self) -> Iterator[tuple[Counts, list[tuple[str, int]]]]:
        """Yield the open jobs, each with its open interactions, and counts of the same moment."""
        cursor = 0
        while True:
            with self._client.pipeline(transaction=True) as transaction:
                transaction.hmget(self._keys.counts, list(FIELDS))
                transaction.hscan(self._keys.open_jobs, cursor, count=CHUNK)
                numbers, (cursor, found) = transaction.execute()
            yield Counts.of(numbers), [(_text(job), int(size)) for job, size in found.items()]
            if cursor == 0:
                return

    def waiting(self, until: str = "") -> Iterator[list[str]]:
        """Yield the jobs whose message no worker has, those that were added last first.

        Messages are added at the end and taken at the beginning, so that reading towards the
        beginning passes all of them. Stops after the piece that holds `until`.
        """
        end = -1
        while True:
            ids = _ids(self._client.lrange(self._keys.waiting(INTERACTIONS), end - CHUNK + 1, end))
            if ids:
                yield ids[::-1]
            if len(ids) < CHUNK or until in ids:
                return
            end -= CHUNK

    def fetched(self) -> Iterator[list[str]]:
        """Yield the jobs whose message a worker has."""
        heartbeats = self._keys.heartbeats
        for workers in self._pieces(lambda cursor: self._client.zscan(heartbeats, cursor)):
            for worker, _ in workers:
                key = self._keys.fetched(INTERACTIONS, _text(worker))
                yield from self._members(key)

    def dead(self) -> Iterator[list[tuple[str, int]]]:
        """Yield the jobs whose message is a dead letter, each with what was counted as failed."""
        key, messages = self._keys.dead(INTERACTIONS), self._keys.dead_messages(INTERACTIONS)
        for letters in self._pieces(lambda cursor: self._client.zscan(key, cursor, count=CHUNK)):
            ids = [job_id for job_id, _ in letters]
            if not ids:
                continue
            gone = set(_ids(self._without_message(keys=[messages], args=ids)))
            causes = cast(list[bytes | None], self._client.hmget(self._keys.causes, ids))
            yield [
                (name, int((cause or b"0").partition(b" ")[0]))
                for name, cause in zip(_ids(ids), causes, strict=True)
                if name not in gone
            ]

    def without_message(self, job_ids: Sequence[str]) -> list[str]:
        """Return those of these jobs, `CHUNK` at most, that have no message."""
        if not job_ids:
            return []
        keys = [self._keys.messages(INTERACTIONS)]
        return _ids(cast(list[bytes], self._without_message(keys=keys, args=list(job_ids))))

    def look_for(self, job_ids: Sequence[str]) -> tuple[list[str], list[int]]:
        """Look for the messages of these jobs, `SUSPECTS` at most, in every place at one moment.

        Returns the last `CHUNK` that wait, as `waiting` does, and for each job GONE when it is open
        and has no message, UNPLACED when it is open and its message is in no place but perhaps
        further ahead among those that wait, otherwise HELD.
        """
        keys = [
            self._keys.waiting(INTERACTIONS),
            self._keys.messages(INTERACTIONS),
            self._keys.open_jobs,
            self._keys.dead(INTERACTIONS),
            self._keys.dead_messages(INTERACTIONS),
            self._keys.heartbeats,
        ]
        before, _, after = self._keys.fetched(INTERACTIONS, "|").partition("|")
        args: list[str | int] = [before, after, CHUNK, *job_ids]
        last, found = cast(tuple[list[bytes], list[int]], self._look_for(keys=keys, args=args))
        return _ids(last)[::-1], found

    def records(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield the records of all jobs."""
        for keys in self._pieces(
            lambda cursor: self._client.scan(
                cursor, match=f"{self._keys.record_prefix}*", count=CHUNK
            )
        ):
            for start in range(0, len(keys), BUCKETS_AT_A_TIME):
                yield from self._buckets(keys[start : start + BUCKETS_AT_A_TIME])

    def look_again(self, job_ids: Sequence[str]) -> list[StoredJob]:
        """Return what is known about these jobs, `CHUNK` at most, at one moment."""
        with self._client.pipeline(transaction=True) as transaction:
            for job_id in job_ids:
                transaction.hget(*self._keys.record(job_id))
                transaction.hexists(self._keys.open_jobs, job_id)
                transaction.hexists(self._keys.messages(INTERACTIONS), job_id)
            found = iter(transaction.execute())
        return [
            StoredJob(record or b"", bool(is_open), bool(has_message))
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
                (self._keys.job_id(_text(key), _text(field)), record)
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


def _ids(found: Any) -> list[str]:
    return list(map(_text, found))


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
