"""Jobs, made durable: what ingest stores, and reads again for a caller who asks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from ulid import ULID

from job_store.admission import Admission
from job_store.async_client import AsyncConnection
from job_store.envelope import pack
from job_store.errors import QueueFull, QueueUnavailable
from job_store.keys import INTERACTIONS, WRITE_INTERACTIONS
from job_store.partitions import Partition
from job_store.redis_client import async_repeatable
from job_store.replication import Confirmation
from job_store.request_ids import IDS_AT_A_TIME, WINDOWS, Request, RequestName
from job_store.scripts import AsyncScript, text
from mesh.health import Unhealthy
from sluice.job.v1.job_pb2 import JOB_STATE_PENDING, JobRecord, LogInteractions, RequestRecord

STUCK_SECONDS = 0.3
"""After which a partition that does not answer gets nothing that may go to another."""
TIME_BYTES = 8
TIME_MARGIN_MICROSECONDS = 4_000_000
"""By which the clock of a Redis that is older than it was must have passed what it was when this
process last looked: the others may have been given times since. So it is more than the time between
two probes: mesh.health, and ingest_service.partition_probe waits for a partition that hangs."""


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


class JobStore:
    """The jobs of one partition, as ingest sees them.

    `admission` says when there is no room for a further job. `record_seconds` is how long a job's
    state is kept, `request_seconds` how long a request id is. `confirming_replicas` must have on
    disk what is stored, and what is answered about a request id.

    Every method is called on one event loop.
    """

    def __init__(
        self,
        partition: Partition,
        admission: Admission,
        *,
        record_seconds: int,
        request_seconds: int,
        confirming_replicas: int = 0,
    ) -> None:
        self._partition = partition
        self._client = partition.async_client
        self._admission = admission
        self._record_seconds = record_seconds
        self._window_microseconds = request_seconds * 1_000_000 // WINDOWS
        self._keys = keys = partition.keys
        self._job_keys = [
            keys.open_jobs,
            keys.counts,
            keys.waiting(INTERACTIONS),
            keys.messages(INTERACTIONS),
        ]
        self._latest = 0
        self._looked = 0
        """What the clock of Redis was when it last knew of all that was handed out."""
        self._took_the_last = False
        self._busy_since: float | None = None
        self.secret = b""
        """What the alerts of repeatable submissions are named by, the same in every process; empty
        until the first probe."""
        self._confirmation = Confirmation(confirming_replicas)
        self._commit = AsyncScript(text("commit"))
        self._read = AsyncScript(text("read_records"))

    @property
    def is_available(self) -> bool:
        """Whether another job would be taken, as far as is known."""
        since = self._busy_since
        is_stuck = since is not None and time.monotonic() - since > STUCK_SECONDS
        return self._took_the_last and not is_stuck and not self._admission.is_full

    async def probe(self) -> None:
        """Check that Redis answers and keeps what it acknowledges, and see how full it is.

        Raises mesh.health.Unhealthy, QueueUnavailable or redis.RedisError.
        """
        await self._admission.measure()
        await self._client.run(self._confirmation.require_possible)
        wait, _ = await self._run([self._keys.times], ())
        if wait:
            raise Unhealthy(
                "Redis is older than what it has handed out, restored from a copy or emptied: "
                f"nothing is taken until its clock has passed that, for {wait / 1e6:.1f} s. If "
                "its clock was wrong before, stop ingest, delete the key "
                f"{self._keys.times} and start it"
            )
        self.secret = await self._client.run(self._shared_secret)

    async def _shared_secret(self, connection: AsyncConnection) -> bytes:
        key = self._keys.secret
        kept = await connection.ask("GET", key)
        if kept is None:
            await connection.ask("SET", key, secrets.token_bytes(32), "NX")
            kept = await connection.ask("GET", key)
        return cast(bytes, kept)

    async def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Make the entries durable as one job and return a receipt for each.

        An entry whose request id is taken, in Redis or by an entry before it, is left out of the
        job; its receipt says what the id stands for. Raises QueueUnavailable, or QueueFull when
        too much is waiting.
        """
        if self._admission.is_full:
            raise QueueFull
        earlier: dict[RequestName, RequestRecord] = {}
        receipts: dict[int, Receipt] = {}
        while not receipts and (fresh := _fresh(entries, earlier)):
            job = self._partition.new_job()
            job_id = str(job)
            index = 0
            records: dict[RequestName, RequestRecord] = {}
            for number in fresh:
                entry = entries[number]
                receipts[number] = Receipt(job_id, index)
                if entry.request is not None:
                    records[entry.request.name] = RequestRecord(
                        body_hash=entry.request.body_hash,
                        job_id=job.bytes,
                        first_index=index,
                        refusals=entry.request.refusals,
                    )
                index += entry.size
            pieces = b"".join([entries[number].piece for number in fresh])
            if taken := await self._store(job_id, index, pieces, records):
                receipts = {}
            earlier |= taken or records
        return [
            receipts[number] if number in receipts else _receipt(entry.request, earlier)
            for number, entry in enumerate(entries)
        ]

    async def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | None]:
        """Return what each request id stands for, None where it is new.

        Raises QueueUnavailable, also until the first probe.
        """
        records: list[RequestRecord | None] = []
        for start in range(0, len(requests), IDS_AT_A_TIME):
            some = requests[start : start + IDS_AT_A_TIME]
            wait, taken = await self._run(
                [self._keys.times], [(request.bucket, request.field, b"") for request in some]
            )
            if wait or not self.secret:
                raise QueueUnavailable
            records += map(taken.get, range(len(some)))
        return records

    async def read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        """Return the record of each job, None where there is none. Raises QueueUnavailable."""
        where = [self._keys.record(job_id) for job_id in job_ids]
        keys, fields = [key for key, _ in where], [field for _, field in where]

        async def read(connection: AsyncConnection) -> list[bytes | None]:
            return cast("list[bytes | None]", await self._read(connection, keys, fields))

        records = await async_repeatable(lambda: self._client.run(read))
        return [None if record is None else JobRecord.FromString(record) for record in records]

    async def _store(
        self,
        job_id: str,
        size: int,
        pieces: bytes,
        requests: Mapping[RequestName, RequestRecord],
    ) -> dict[RequestName, RequestRecord]:
        """Store one job, or return the request ids that are taken and what they stand for."""
        # The time comes between two parts of the message, so that Redis only has to put it there.
        head = LogInteractions(job_id=job_id, partition=self._partition.number).SerializeToString()
        untimed = head + LogInteractions(first_time_unix_micro=1).SerializeToString()
        message = pack(INTERACTIONS, WRITE_INTERACTIONS, job_id, untimed + pieces)
        timed = len(message) - len(pieces)
        record = JobRecord(state=JOB_STATE_PENDING, size=size)
        record.accept_time.GetCurrentTime()
        records, field = self._keys.record(job_id)
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
        self._admission.add_job(len(message))
        keys = [self._keys.times, records, *self._job_keys]
        self._busy_since = time.monotonic()
        try:
            wait, taken = await self._run(keys, asked, job)
        finally:
            self._busy_since = None
        if wait:
            raise QueueUnavailable
        names = list(requests)
        return {names[number]: record for number, record in taken.items()}

    async def _run(
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
            max(self._latest, self._looked) + TIME_MARGIN_MICROSECONDS,
            self._window_microseconds,
            WINDOWS,
            self._keys.request_prefix,
            int(self._confirmation.is_wanted),
            len(requests),
            *[argument for request in requests for argument in request],
            *job,
        ]

        def run(connection: AsyncConnection) -> Awaitable[list[Any]]:
            return self._confirmation.async_run(connection, self._commit, keys, arguments)

        try:
            wait, latest, now, *taken = await async_repeatable(lambda: self._client.run(run))
        except QueueUnavailable:
            self._took_the_last = False
            raise
        self._took_the_last = not wait
        if latest >= self._latest:
            self._latest, self._looked = latest, now
        return wait, {
            number: RequestRecord.FromString(record)
            for number, record in zip(taken[::2], taken[1::2], strict=True)
        }


def _fresh(entries: Sequence[Entry], earlier: Mapping[RequestName, RequestRecord]) -> list[int]:
    """Return which entries to store: those without a request id, and the first of each new one."""
    seen = set(earlier)
    fresh = []
    for number, entry in enumerate(entries):
        if entry.request is not None:
            if (name := entry.request.name) in seen:
                continue
            seen.add(name)
        fresh.append(number)
    return fresh


def _receipt(request: Request | None, earlier: Mapping[RequestName, RequestRecord]) -> Receipt:
    """Return the receipt of an entry that was left out, which only those with a request id are."""
    assert request is not None  # noqa: S101
    return receipt_of(earlier[request.name])


def receipt_of(record: RequestRecord) -> Receipt:
    """Return the receipt that a request id stands for already."""
    return Receipt(str(ULID.from_bytes(record.job_id)), record.first_index, record)
