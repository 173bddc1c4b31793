"""Jobs in Redis: made durable here, carried out by the worker.

Blocking, like the Redis client: called from threads of their own, never from the event loop.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

import redis
from dramatiq import Message
from dramatiq.errors import DecodeError as UndecodableMessage
from google.protobuf.message import DecodeError
from ulid import ULID

from job_store.metrics import QUEUE_FULL
from job_store.redis_client import require_durability
from mesh.health import Unhealthy
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

# KEYS 1 queue, 2 messages of the queue. ARGV 1 id, 2 message. An alert that is queued already, or
# in a worker's hands, stays as it is.
ENQUEUE = """
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then
  redis.call('RPUSH', KEYS[1], ARGV[1])
end
"""

RECORDS_PREFIX = "sluice:jobs:"
BUCKET_CHARACTERS = 8
"""Of a job id, which begins with its time: the jobs of about a second lie in one hash. A key of its
own with a time to live would take three times the memory."""
REQUESTS_PREFIX = "sluice:requests:"
REQUEST_BUCKETS = 8192
"""Among which the request ids of one window are divided: small hashes that Redis packs, so that an
id takes about 70 bytes and not the 200 that a key of its own would. At 100 a second for a day 260
ids share one, of the 1,000 that it is packed up to."""
REQUEST_WINDOWS = 4
"""In which a request id's time to live is cut. The ids of a window expire together, so one lives up
to a quarter longer than it has to, and is looked for in this many windows and the present one."""
OPEN_KEY = "sluice:open"
COUNTS_KEY = "sluice:counts"
TIMES_KEY = "sluice:times"
SECRET_KEY = "sluice:secret"  # noqa: S105 - the name of one
"""Lies where the request ids do, so that it is lost with them and not before."""

TIME_BYTES = 8
TIME_MARGIN_MICROSECONDS = 2_000_000
"""By which the clock of a Redis that is older than it was must have passed what this process knows
of: the others may know of later times, though of none that is later than their last probe."""

IDS_AT_A_TIME = 100
"""Request ids that are looked up in one step. Redis looks in several places for each, and is kept
from everything else for up to half a millisecond by one when it is full of them."""

FULL_SHARE = 0.7
"""Of Redis' memory. At its limit Redis takes no submission any more, and the workers need some to
drain it. Request ids and states are in what it tells as used."""
INTERACTION_QUEUE = "interactions"
ALERT_QUEUE = "alerts"


class Request(NamedTuple):
    """What a request id is to stand for, and where it lies in Redis.

    `body_hash` and `refusals` are as in sluice.job.v1.RequestRecord.
    """

    bucket: str
    field: bytes
    body_hash: bytes
    refusals: bytes = b""

    @classmethod
    def of(cls, request_id: str, body: bytes, client: str = "") -> Self:
        """Return the request of one submission. `body` is its deterministic serialization."""
        name = _digest(client, request_id)
        bucket = int.from_bytes(name[:2]) % REQUEST_BUCKETS
        return cls(f"{bucket:x}", name[4:16], hashlib.sha256(body).digest()[:16])

    @classmethod
    def of_batch(cls, request_id: str, body: bytes, client: str = "") -> Self:
        """Return the request of a whole batch, which has a hash of its own for its parts."""
        name = _digest(client, request_id)
        return cls(name[:16].hex(), b"", hashlib.sha256(body).digest()[:16])

    def part(self, start: int) -> Self:
        """Return the request of the part of a batch that begins with this submission."""
        return self._replace(field=str(start).encode())

    def alert_id(self, secret: bytes, index: int = 0) -> str:
        """Return the identity of the alert about a submission of it, which repeats share.

        It stands beside the masked submission, and without `secret` a short value could be found by
        trying them all.
        """
        name = b"\0".join([self.bucket.encode(), self.field, self.body_hash, str(index).encode()])
        return hmac.digest(secret, name, "sha256").hex()[:32]


class Entry(NamedTuple):
    """Interactions to put on record, whole or not at all: mostly one.

    `piece` is a serialized LogInteractions with just these interactions: serialized messages that
    are joined are the message with all of them.
    """

    piece: bytes
    size: int = 1
    request: Request | None = None


class Receipt(NamedTuple):
    """Where the interactions of an entry are: in this job, the first of them at this index.

    `earlier` is what its request id stood for already; then nothing of the entry was stored.
    """

    job_id: str
    first: int
    earlier: RequestRecord | None = None


class QueueUnavailable(Exception):
    """Redis did not confirm. What was asked for may have happened all the same."""


class QueueFull(Exception):
    """As much is waiting as may, and nothing was taken."""


class Jobs:
    """The jobs of this mesh, as ingest sees them. Every method is thread-safe.

    `record_seconds` is how long a job's state is kept, `request_seconds` how long a request id is,
    `max_queued` how many jobs may be unfinished before no further one is taken; `max_queued_alerts`
    and `max_queued_alert_bytes` are the same for alerts that could not be told at once.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        record_seconds: int,
        request_seconds: int,
        max_queued: int = 1_000_000,
        max_queued_alerts: int = 100_000,
        max_queued_alert_bytes: int = 128 * 1024 * 1024,
    ) -> None:
        self._client = client
        self._record_seconds = record_seconds
        self._window_microseconds = request_seconds * 1_000_000 // REQUEST_WINDOWS
        self._max_queued = max_queued
        self._max_queued_alerts = max_queued_alerts
        self._max_queued_alert_bytes = max_queued_alert_bytes
        # What the last probe found room for, less what this process has stored since.
        self._bytes_left = self._jobs_left = float("inf")
        self._alerts_left = self._alert_bytes_left = float("inf")
        self._latest = 0
        self.secret = b""
        """What the alerts of repeatable submissions are named by, the same in every process; empty
        until the first probe."""
        self._lock = threading.Lock()
        script = Path(__file__).with_name("commit.lua").read_text(encoding="utf-8")
        self._commit = client.register_script(script)
        self._read = client.register_script(READ)
        self._enqueue = client.register_script(ENQUEUE)

    def probe(self) -> None:
        """Check that Redis answers and keeps what it acknowledges, and see how full it is.

        Raises mesh.health.Unhealthy, QueueUnavailable or redis.RedisError.
        """
        info = require_durability(self._client)
        most = info["maxmemory"] or float("inf")
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hlen(f"dramatiq:{INTERACTION_QUEUE}.msgs")
            pipeline.hlen(f"dramatiq:{ALERT_QUEUE}.msgs")
            pipeline.memory_usage(f"dramatiq:{ALERT_QUEUE}.msgs")
            jobs, alerts, alert_bytes = pipeline.execute()
        with self._lock:
            self._bytes_left = FULL_SHARE * most - info["used_memory"]
            self._jobs_left = self._max_queued - jobs
            self._alerts_left = self._max_queued_alerts - alerts
            self._alert_bytes_left = self._max_queued_alert_bytes - (alert_bytes or 0)
        QUEUE_FULL.set(self._is_full)
        wait, _ = self._run([], ())
        if wait:
            raise Unhealthy(
                "Redis is older than what it has handed out, restored from a copy or emptied: "
                f"nothing is taken until its clock has passed that, for {wait / 1e6:.1f} s. If "
                f"its clock was wrong before, stop ingest, delete the key {TIMES_KEY} and start it"
            )
        self.secret = self._shared_secret()

    def _shared_secret(self) -> bytes:
        kept = cast("bytes | None", self._client.get(SECRET_KEY))
        if kept is None:
            self._client.set(SECRET_KEY, secrets.token_bytes(32), nx=True)
            kept = cast("bytes", self._client.get(SECRET_KEY))
        return kept

    def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Make the entries durable as one job and return a receipt for each.

        An entry whose request id is taken, in Redis or by an entry before it, is left out of the
        job; its receipt says what the id stands for. Raises QueueUnavailable, or QueueFull when
        too much is waiting.
        """
        if self._is_full:
            raise QueueFull
        earlier: dict[tuple[str, bytes], RequestRecord] = {}
        receipts: dict[int, Receipt] = {}
        while not receipts and (fresh := _fresh(entries, earlier)):
            job = ULID()
            job_id = str(job)
            index = 0
            records: dict[tuple[str, bytes], RequestRecord] = {}
            for number in fresh:
                entry = entries[number]
                receipts[number] = Receipt(job_id, index)
                if entry.request is not None:
                    records[entry.request[:2]] = RequestRecord(
                        body_hash=entry.request.body_hash,
                        job_id=job.bytes,
                        first_index=index,
                        refusals=entry.request.refusals,
                    )
                index += entry.size
            pieces = b"".join([entries[number].piece for number in fresh])
            if taken := self._store(job_id, index, pieces, records):
                receipts = {}
            earlier |= taken or records
        return [
            receipts[number] if number in receipts else _receipt(entry.request, earlier)
            for number, entry in enumerate(entries)
        ]

    def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | None]:
        """Return what each request id stands for, None where it is new.

        Raises QueueUnavailable, also until the first probe.
        """
        records: list[RequestRecord | None] = []
        for start in range(0, len(requests), IDS_AT_A_TIME):
            some = requests[start : start + IDS_AT_A_TIME]
            wait, taken = self._run([], [(request.bucket, request.field, b"") for request in some])
            if wait or not self.secret:
                raise QueueUnavailable
            records += map(taken.get, range(len(some)))
        return records

    def enqueue_alert(self, alert: RaiseAlertRequest) -> None:
        """Queue an alert that the alert service could not take. Its id makes repeats harmless.

        Of what the gateway refused, which costs its sender nothing, only the first half of the room
        is for. Raises QueueUnavailable, or QueueFull when too many alerts wait or Redis is full.
        """
        payload = DeliverAlert(alert=alert).SerializeToString()
        message = _message(ALERT_QUEUE, "deliver_alert", alert.alert_id, payload)
        with self._lock:
            kept_free = 0.5 if alert.at_edge else 0.0
            if (
                self._alerts_left <= kept_free * self._max_queued_alerts
                or self._alert_bytes_left <= kept_free * self._max_queued_alert_bytes
                or self._bytes_left <= 0
            ):
                raise QueueFull
            self._alerts_left -= 1
            self._alert_bytes_left -= len(message)
            self._bytes_left -= len(message)
        keys = [f"dramatiq:{ALERT_QUEUE}", f"dramatiq:{ALERT_QUEUE}.msgs"]
        _repeatable(lambda: self._enqueue(keys, [alert.alert_id, message]))

    def read_alert(self, alert_id: str) -> RaiseAlertRequest | None:
        """Return an alert that waits for its delivery. Raises QueueUnavailable."""
        key = f"dramatiq:{ALERT_QUEUE}.msgs"
        message = cast("bytes | None", _repeatable(lambda: self._client.hget(key, alert_id)))
        if message is None:
            return None
        try:
            return DeliverAlert.FromString(Message.decode(message).args[0]).alert
        except (UndecodableMessage, DecodeError, IndexError):
            return None

    def read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return the record of each job, None where there is none. Raises QueueUnavailable."""
        places = [_place(job_id) for job_id in job_ids]
        keys, fields = [key for key, _ in places], [field for _, field in places]
        found = cast("list[bytes | None]", _repeatable(lambda: self._read(keys, fields)))
        return [None if record is None else JobRecord.FromString(record) for record in found]

    @property
    def _is_full(self) -> bool:
        return self._bytes_left <= 0 or self._jobs_left <= 0

    def _store(
        self,
        job_id: str,
        size: int,
        pieces: bytes,
        requests: Mapping[tuple[str, bytes], RequestRecord],
    ) -> dict[tuple[str, bytes], RequestRecord]:
        """Store one job, or return the request ids that are taken and what they stand for."""
        # The time comes between two parts of the message, so that Redis only has to put it there.
        untimed = LogInteractions(job_id=job_id, first_time_unix_micro=1).SerializeToString()
        message = _message(INTERACTION_QUEUE, "write_interactions", job_id, untimed + pieces)
        timed = len(message) - len(pieces)
        record = JobRecord(state=JOB_STATE_PENDING, size=size)
        record.accept_time.GetCurrentTime()
        records, field = _place(job_id)
        keys = [
            records,
            OPEN_KEY,
            COUNTS_KEY,
            f"dramatiq:{INTERACTION_QUEUE}",
            f"dramatiq:{INTERACTION_QUEUE}.msgs",
        ]
        job: list[bytes | str | int] = [
            job_id,
            field,
            record.SerializeToString(),
            self._record_seconds,
            size,
            message[: timed - TIME_BYTES],
            message[timed:],
        ]
        asked = [(*name, request.SerializeToString()) for name, request in requests.items()]
        with self._lock:
            self._bytes_left -= len(message)
            self._jobs_left -= 1
        wait, taken = self._run(keys, asked, job)
        if wait:
            raise QueueUnavailable
        names = list(requests)
        return {names[number]: record for number, record in taken.items()}

    def _run(
        self,
        keys: Sequence[str],
        requests: Sequence[tuple[str, bytes, bytes]],
        job: Sequence[bytes | str | int] = (),
    ) -> tuple[int, dict[int, RequestRecord]]:
        """Run commit.lua; return how long to wait and which request ids are taken.

        The script knows what it has stored, so it may run twice.
        """
        arguments: list[bytes | str | int] = [
            self._latest,
            TIME_MARGIN_MICROSECONDS,
            self._window_microseconds,
            REQUEST_WINDOWS,
            REQUESTS_PREFIX,
            len(requests),
            *[argument for request in requests for argument in request],
            *job,
        ]
        wait, latest, *taken = cast(
            "list[Any]", _repeatable(lambda: self._commit([TIMES_KEY, *keys], arguments))
        )
        with self._lock:
            self._latest = max(self._latest, latest)
        return wait, {
            number: RequestRecord.FromString(record)
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
    except redis.exceptions.OutOfMemoryError:
        raise QueueFull from None
    except redis.RedisError as error:
        raise QueueUnavailable from error


def _fresh(
    entries: Sequence[Entry], earlier: Mapping[tuple[str, bytes], RequestRecord]
) -> list[int]:
    """Return which entries to store: those without a request id, and the first of each new one."""
    seen = set(earlier)
    fresh = []
    for number, entry in enumerate(entries):
        if entry.request is not None:
            if (name := entry.request[:2]) in seen:
                continue
            seen.add(name)
        fresh.append(number)
    return fresh


def _receipt(
    request: Request | None, earlier: Mapping[tuple[str, bytes], RequestRecord]
) -> Receipt:
    """Return the receipt of an entry that was left out, which only those with a request id are."""
    assert request is not None  # noqa: S101
    return receipt_of(earlier[request[:2]])


def receipt_of(record: RequestRecord) -> Receipt:
    """Return the receipt that a request id stands for already."""
    return Receipt(str(ULID.from_bytes(record.job_id)), record.first_index, record)


def _digest(client: str, request_id: str) -> bytes:
    return hashlib.sha256(f"{client}\0{request_id}".encode()).digest()


def _place(job_id: str) -> tuple[str, str]:
    """Return the hash and the field in which a job's record lies."""
    return RECORDS_PREFIX + job_id[:BUCKET_CHARACTERS], job_id[BUCKET_CHARACTERS:]


def _message(queue: str, actor: str, message_id: str, payload: bytes) -> bytes:
    """Return a Dramatiq message as it is stored in Redis, under the id of what it is about.

    The payload comes last in it.
    """
    message: Message[None] = Message(
        queue_name=queue,
        actor_name=actor,
        args=(payload,),
        kwargs={},
        options={"redis_message_id": message_id},
        message_id=message_id,
    )
    return message.encode()
