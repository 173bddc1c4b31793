"""Jobs in Redis: made durable here, carried out by the worker.

Blocking, like the Redis client: called from threads of their own, never from the event loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import redis
from dramatiq import Message
from ulid import ULID

from ingest_service.times import SLOTS
from mesh.queue import require_durability
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import (
    JOB_STATE_PENDING,
    DeliverAlert,
    JobRecord,
    LogInteractions,
    RequestRecord,
)

Result = TypeVar("Result")

READ = """
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = redis.call('HGET', key, ARGV[i])
end
return found
"""

RECORDS_PREFIX = "sluice:jobs:"
BUCKET_CHARACTERS = 8
"""Of a job id, which begins with its time: the jobs of about a second lie in one hash. A key of its
own with a time to live would take three times the memory."""
REQUEST_PREFIX = "sluice:request:"
OPEN_KEY = "sluice:open"
COUNTS_KEY = "sluice:counts"
SLOT_KEY = "sluice:slots"

FULL_SHARE = 0.7
"""Of Redis' memory. At its limit Redis takes no command that writes, those of the workers among
them, and could not be drained any more."""
INTERACTION_QUEUE = "interactions"
ALERT_QUEUE = "alerts"


class Entry(NamedTuple):
    """One interaction to put on record.

    `piece` is a serialized LogInteractions with just this interaction: serialized messages that are
    joined are the message with all of them. `request_id` and `request` go together.
    """

    piece: bytes
    request_id: str = ""
    request: RequestRecord | None = None


class Receipt(NamedTuple):
    """What an entry became: its own task, or the record that its request id already stands for."""

    task_id: str
    earlier: RequestRecord | None = None


class QueueUnavailable(Exception):
    """Redis did not confirm. What was asked for may have happened all the same."""


class QueueFull(Exception):
    """As much is waiting as may, and nothing was taken."""


class Jobs:
    """The jobs of this mesh, as ingest sees them.

    `record_seconds` is how long a job's state is kept, `request_seconds` how long a request id is,
    `max_queued` how many jobs may be unfinished before no further one is taken.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        record_seconds: int,
        request_seconds: int,
        max_queued: int = 1_000_000,
    ) -> None:
        self._client = client
        self._record_seconds = record_seconds
        self._request_seconds = request_seconds
        self._max_queued = max_queued
        self._is_full = False
        script = Path(__file__).with_name("commit.lua").read_text(encoding="utf-8")
        self._commit = client.register_script(script)
        self._read = client.register_script(READ)

    def probe(self) -> None:
        """Check that Redis answers and keeps what it acknowledges, and see how full it is.

        Raises mesh.health.Unhealthy or redis.RedisError.
        """
        info = require_durability(self._client)
        most = info["maxmemory"] or float("inf")
        queued = self._client.hlen(f"dramatiq:{INTERACTION_QUEUE}.msgs")
        self._is_full = info["used_memory"] > FULL_SHARE * most or queued >= self._max_queued

    def take_slot(self) -> int:
        """Return the slot of this process for UniqueTimes. Raises redis.RedisError."""
        return int(self._client.incr(SLOT_KEY)) % SLOTS

    def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Make the entries durable as one job and return a receipt for each.

        An entry whose request id is taken, in Redis or by an entry before it, is left out of the
        job; its receipt says what the id stands for. Raises QueueUnavailable, or QueueFull when
        the last probe found too much waiting.
        """
        if self._is_full:
            raise QueueFull
        earlier: dict[str, RequestRecord] = {}
        tasks: dict[int, str] = {}
        while not tasks and (fresh := _fresh(entries, earlier)):
            job_id = str(ULID())
            named = {index: f"{job_id}-{place}" for place, index in enumerate(fresh)}
            requests = {
                entries[index].request_id: _with_task(request, task_id)
                for index, task_id in named.items()
                if (request := entries[index].request) is not None
            }
            taken = self._store(job_id, [entries[index].piece for index in fresh], requests)
            if not taken:
                tasks = named
            earlier |= taken or requests
        return [
            Receipt(tasks[index]) if index in tasks else Receipt("", earlier[entry.request_id])
            for index, entry in enumerate(entries)
        ]

    def enqueue_alert(self, alert: RaiseAlertRequest) -> None:
        """Queue an alert that the alert service could not take. Its id makes repeats harmless.

        Raises QueueUnavailable or QueueFull.
        """
        payload = DeliverAlert(alert=alert).SerializeToString()
        message = _message(ALERT_QUEUE, "deliver_alert", alert.alert_id, payload)

        def store() -> None:
            with self._client.pipeline(transaction=True) as transaction:
                transaction.hset(f"dramatiq:{ALERT_QUEUE}.msgs", alert.alert_id, message)
                transaction.rpush(f"dramatiq:{ALERT_QUEUE}", alert.alert_id)
                transaction.execute()

        _repeatable(store)

    def read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return the record of each job, None where there is none. Raises QueueUnavailable."""
        places = [_place(job_id) for job_id in job_ids]
        keys, fields = [key for key, _ in places], [field for _, field in places]
        found = cast("list[bytes | None]", _repeatable(lambda: self._read(keys, fields)))
        return [None if record is None else JobRecord.FromString(record) for record in found]

    def _store(
        self, job_id: str, pieces: Sequence[bytes], requests: Mapping[str, RequestRecord]
    ) -> dict[str, RequestRecord]:
        """Store one job, or return the request ids that are taken and what they stand for."""
        payload = LogInteractions(job_id=job_id).SerializeToString() + b"".join(pieces)
        message = _message(INTERACTION_QUEUE, "log_interactions", job_id, payload)
        record = JobRecord(state=JOB_STATE_PENDING, size=len(pieces))
        record.accept_time.GetCurrentTime()
        records, field = _place(job_id)
        keys = [
            records,
            OPEN_KEY,
            COUNTS_KEY,
            f"dramatiq:{INTERACTION_QUEUE}",
            f"dramatiq:{INTERACTION_QUEUE}.msgs",
            *(_request_key(request_id) for request_id in requests),
        ]
        arguments: list[bytes | str | int] = [
            job_id,
            field,
            record.SerializeToString(),
            self._record_seconds,
            len(pieces),
            message,
            self._request_seconds,
            *(request.SerializeToString() for request in requests.values()),
        ]
        # The script knows what it has stored, so it may run twice.
        taken = cast("list[Any]", _repeatable(lambda: self._commit(keys, arguments)))
        ids = list(requests)
        return {
            ids[number]: RequestRecord.FromString(record)
            for number, record in zip(taken[::2], taken[1::2], strict=True)
        }


def _repeatable(call: Callable[[], Result]) -> Result:
    """Make a call to Redis that may be made twice, and make it twice when its connection was lost.

    A connection that was idle while Redis was restarted is found dead only when it is used. Raises
    QueueFull when Redis has no memory left, otherwise QueueUnavailable.
    """
    try:
        try:
            return call()
        except redis.ConnectionError:
            return call()
    except redis.ResponseError as error:
        if "OOM" in str(error):
            raise QueueFull from None
        raise QueueUnavailable from error
    except redis.RedisError as error:
        raise QueueUnavailable from error


def _fresh(entries: Sequence[Entry], earlier: Mapping[str, RequestRecord]) -> list[int]:
    """Return which entries to store: those without a request id, and the first of each new one."""
    seen = set(earlier)
    fresh = []
    for index, entry in enumerate(entries):
        if entry.request is not None:
            if entry.request_id in seen:
                continue
            seen.add(entry.request_id)
        fresh.append(index)
    return fresh


def _with_task(request: RequestRecord, task_id: str) -> RequestRecord:
    named = RequestRecord(task_id=task_id)
    named.MergeFrom(request)
    return named


def _place(job_id: str) -> tuple[str, str]:
    """Return the hash and the field in which a job's record lies."""
    return RECORDS_PREFIX + job_id[:BUCKET_CHARACTERS], job_id[BUCKET_CHARACTERS:]


def _request_key(request_id: str) -> str:
    return REQUEST_PREFIX + hashlib.sha256(request_id.encode()).hexdigest()


def _message(queue: str, actor: str, message_id: str, payload: bytes) -> bytes:
    """Return a Dramatiq message as it is stored in Redis, under the id of what it is about."""
    message: Message[None] = Message(
        queue_name=queue,
        actor_name=actor,
        args=(payload,),
        kwargs={},
        options={"redis_message_id": message_id},
        message_id=message_id,
    )
    return message.encode()
