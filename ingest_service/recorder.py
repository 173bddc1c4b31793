"""Puts interactions on record: as they come in, they are gathered into jobs and made durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ingest_service.metrics import COMMIT_SECONDS, JOB_INTERACTIONS
from ingest_service.named_fields import NamedField
from job_store.errors import QueueFull, QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Entry, JobStore, Receipt
from mesh.group_commit import GroupCommit, Room, on_thread
from mesh.messages import length_delimited_field
from sluice.job.v1.job_pb2 import Interaction, LogInteractions, RequestRecord
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED

LINGER_SECONDS = 0.001
"""For each submission after the first that the last job had. A job costs as much processor time in
Redis, the worker and InfluxDB as several submissions do in all, so waiting for more pays."""

REQUEST_ID_ITEMS = 49
"""What an entry with a request id counts for besides: so a job of 5,000 items carries at most 100,
the same as are looked up in one step, see job_store.request_ids.IDS_AT_A_TIME."""

Unstored = QueueUnavailable | QueueFull
"""Why an entry has no receipt."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries of one call that become one job, or a part of one."""

    entries: Sequence[Entry]
    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Request ids that are looked up together."""

    requests: Sequence[Request]

    @property
    def items(self) -> int:
        return len(self.requests)

    @property
    def bytes(self) -> int:
        return 32 * len(self.requests)


class Recorder:
    """Makes interactions durable in one partition, many in one job while many come in."""

    def __init__(self, jobs: JobStore, *, max_items: int, max_bytes: int, room: Room) -> None:
        self._jobs = jobs
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._commits = GroupCommit(
            on_thread("recorder", self._commit),
            max_items=max_items,
            max_bytes=max_bytes,
            fails_all=True,
            room=room,
            linger_seconds=LINGER_SECONDS,
        )
        self._lookups = GroupCommit(
            on_thread("requests", self._look_up),
            max_items=500,
            max_bytes=1024 * 1024,
            fails_all=True,
            room=Room(4 * 1024 * 1024, QueueFull),
        )

    async def record(self, entries: Sequence[Entry]) -> list[Receipt | Unstored]:
        """Make the entries durable; return for each, in order, its receipt or why it has none.

        Many entries may become several jobs, of which some are stored and others not. Whoever is
        cancelled while waiting loses the receipts, not the interactions.
        """
        batches = self._batches(entries)
        if len(batches) == 1:
            return await self._send(batches[0])
        parts = await asyncio.gather(*[self._send(batch) for batch in batches])
        return [each for part in parts for each in part]

    async def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | Unstored | None]:
        """Return what each request id stands for already, None where it is new, or why that is not
        known.
        """
        try:
            return [*await self._lookups(_Lookup(requests))]
        except (QueueUnavailable, QueueFull) as error:
            return [error] * len(requests)

    async def close(self) -> None:
        """Wait until everything that was taken in is durable or has failed."""
        await self._commits.close()
        await self._lookups.close()

    def _look_up(self, lookups: Sequence[_Lookup]) -> list[list[RequestRecord | None]]:
        records = iter(self._jobs.look_up([each for lookup in lookups for each in lookup.requests]))
        return [[next(records) for _ in lookup.requests] for lookup in lookups]

    async def _send(self, batch: _Batch) -> list[Receipt | Unstored]:
        try:
            return [*await self._commits(batch)]
        except (QueueUnavailable, QueueFull) as error:
            return [error] * len(batch.entries)

    def _commit(self, batches: Sequence[_Batch]) -> list[list[Receipt]]:
        entries = [entry for batch in batches for entry in batch.entries]
        JOB_INTERACTIONS.observe(sum([entry.size for entry in entries]))
        with COMMIT_SECONDS.time():
            receipts = iter(self._jobs.commit(entries))
        return [[next(receipts) for _ in batch.entries] for batch in batches]

    def _batches(self, entries: Sequence[Entry]) -> list[_Batch]:
        """Cut the entries into batches that a job may hold, or one entry that is larger."""
        batches = []
        start = size = items = 0
        for index, entry in enumerate(entries):
            more = entry.size if entry.request is None else entry.size + REQUEST_ID_ITEMS
            if size and (
                size + len(entry.piece) > self._max_bytes or items + more > self._max_items
            ):
                batches.append(_Batch(entries[start:index], items, size))
                start, size, items = index, 0, 0
            size += len(entry.piece)
            items += more
        batches.append(_Batch(entries[start:], items, size))
        return batches


_INTERACTIONS = LogInteractions.DESCRIPTOR.fields_by_name["interactions"].number
_DATA = Interaction.DESCRIPTOR.fields_by_name["data"].number


def interaction(
    data: bytes,
    fields: Sequence[tuple[NamedField, str]] = (),
    alert_id: str = "",
    detectors: Sequence[str] = (),
    *,
    masked_widely: bool = False,
) -> bytes:
    """Return what goes on record of a submission, as a serialized LogInteractions.

    `data`, a serialized Value, and `fields`, the named ones, are what is recorded: masked when it
    is rejected. `alert_id` names the alert of a rejected submission and is empty for an accepted
    one.
    """
    # The data is put in as the bytes that it is on the wire anyway: copying a message of a hundred
    # values costs more than everything else here.
    rest = _without_data(tuple(fields), alert_id, tuple(detectors), masked_widely)
    return length_delimited_field(_INTERACTIONS, rest + length_delimited_field(_DATA, data))


@lru_cache(maxsize=1024)
def _without_data(
    fields: tuple[tuple[NamedField, str], ...],
    alert_id: str,
    detectors: tuple[str, ...],
    masked_widely: bool,
) -> bytes:
    """Return all of an interaction but its data. Most are like others: of the same source, and with
    no id of their own."""
    rest = Interaction(
        verdict=VERDICT_REJECTED if alert_id else VERDICT_ACCEPTED,
        alert_id=alert_id,
        detectors=detectors,
        masked_widely=masked_widely,
    )
    for field, text in fields:
        setattr(rest, field.stored_as, text)
    return rest.SerializeToString()
