"""Puts interactions on record: as they come in, they are gathered into jobs and made durable."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.struct_pb2 import Value

from ingest_service.jobs import Entry, Jobs, QueueUnavailable, Receipt
from ingest_service.metrics import COMMIT_SECONDS, JOB_INTERACTIONS
from ingest_service.sharing import SharedTrips
from ingest_service.times import UniqueTimes
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.job.v1.job_pb2 import Interaction, LogInteractions, RequestRecord
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED

PATIENCE_SECONDS = 0.001
"""For each further submission that the last job carried. A job costs as much processor time in
Redis, the worker and InfluxDB as several submissions do in all, so it pays to be patient."""


class Decided(NamedTuple):
    """A submission with the decision about it, as it goes on record.

    `data` and `source` are what is recorded: masked when the submission is rejected. `request_id`
    is empty when the submission has none or no valid one. `alert_id` names the alert of a rejected
    submission and is empty for an accepted one.
    """

    submission: SubmitRequest
    data: Value
    source: str
    request_id: str = ""
    alert_id: str = ""
    detectors: Sequence[str] = ()
    masked_widely: bool = False


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries that travel together."""

    entries: Sequence[Entry]
    items: int
    bytes: int


class Recorder:
    """Makes interactions durable in Redis, many in one job while many come in.

    Nothing can be recorded before `start`.
    """

    def __init__(
        self, jobs: Jobs, *, max_items: int, max_bytes: int, max_waiting_bytes: int
    ) -> None:
        self._jobs = jobs
        self._max_bytes = max_bytes
        self._times: UniqueTimes | None = None
        self._trips = SharedTrips(
            "recorder",
            self._carry,
            max_items=max_items,
            max_bytes=max_bytes,
            max_waiting_bytes=max_waiting_bytes,
            patience_seconds=PATIENCE_SECONDS,
        )

    @property
    def started(self) -> bool:
        """Whether interactions can be recorded."""
        return self._times is not None

    def start(self, times: UniqueTimes) -> None:
        """Record from now on, with times from `times`."""
        self._times = times

    async def record(self, decided: Sequence[Decided]) -> list[Receipt]:
        """Make the interactions durable and return a receipt for each, in order.

        Whoever is cancelled while waiting loses the receipts, not the interactions. Raises
        QueueUnavailable, QueueFull or sharing.Overfull; then nothing is promised.
        """
        if self._times is None:
            raise QueueUnavailable
        times = self._times
        batches = self._batches([_entry(each, times.next()) for each in decided])
        if len(batches) == 1:
            return await self._trips(batches[0])
        receipts = await asyncio.gather(*[self._trips(batch) for batch in batches])
        return [receipt for batch in receipts for receipt in batch]

    async def close(self) -> None:
        """Wait until everything that was taken in is durable or has failed."""
        await self._trips.close()

    def _carry(self, batches: Sequence[_Batch]) -> list[list[Receipt]]:
        entries = [entry for batch in batches for entry in batch.entries]
        JOB_INTERACTIONS.observe(len(entries))
        with COMMIT_SECONDS.time():
            receipts = iter(self._jobs.commit(entries))
        return [[next(receipts) for _ in batch.entries] for batch in batches]

    def _batches(self, entries: Sequence[Entry]) -> list[_Batch]:
        """Cut the entries into batches of at most `max_bytes`, or one entry that is larger."""
        batches = []
        start = size = 0
        for index, entry in enumerate(entries):
            if size and size + len(entry.piece) > self._max_bytes:
                batches.append(_Batch(entries[start:index], index - start, size))
                start, size = index, 0
            size += len(entry.piece)
        batches.append(_Batch(entries[start:], len(entries) - start, size))
        return batches


_INTERACTIONS = LogInteractions.DESCRIPTOR.fields_by_name["interactions"].number
_DATA = Interaction.DESCRIPTOR.fields_by_name["data"].number


def _field(number: int, content: bytes) -> bytes:
    """Return a field that holds a message, as protobuf serializes it."""
    head = bytearray((number << 3 | 2,))
    size = len(content)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def body_hash(submission: SubmitRequest) -> bytes:
    """Return the hash by which a repeated `request_id` is held to the same body."""
    return hashlib.sha256(submission.SerializeToString(deterministic=True)).digest()


def _entry(decided: Decided, time_unix_nano: int) -> Entry:
    verdict = VERDICT_REJECTED if decided.alert_id else VERDICT_ACCEPTED
    # The data is put in as the bytes that it is on the wire anyway: copying a message of a hundred
    # values costs more than everything else here.
    interaction = Interaction(time_unix_nano=time_unix_nano, verdict=verdict)
    if decided.source:
        interaction.source = decided.source
    if decided.request_id:
        interaction.request_id = decided.request_id
    if decided.alert_id:
        interaction.alert_id = decided.alert_id
    if decided.detectors:
        interaction.detectors.extend(decided.detectors)
    if decided.masked_widely:
        interaction.masked_widely = True
    data = _field(_DATA, decided.data.SerializeToString())
    piece = _field(_INTERACTIONS, interaction.SerializeToString() + data)
    if not decided.request_id:
        return Entry(piece)
    request = RequestRecord(
        body_hash=body_hash(decided.submission), verdict=verdict, alert_id=decided.alert_id
    )
    return Entry(piece, decided.request_id, request)
