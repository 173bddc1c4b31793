"""Reads job records for callers who ask where their tasks stand, many in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from job_store.errors import QueueFull
from job_store.partitions import Partitions
from job_store.store import JobStore
from mesh.group_commit import GroupCommit, Room, on_thread
from sluice.job.v1.job_pb2 import JobRecord

LINGER_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A job to look up, together with others."""

    job_id: str
    items: int = 1
    bytes: int = 26


class JobLookups:
    """Looks each job up in its partition. `stores` are one for each."""

    def __init__(self, partitions: Partitions, stores: Sequence[JobStore]) -> None:
        self._partitions = partitions
        self._lookups = [_lookups_in(store) for store in stores]

    async def __call__(self, job_id: str) -> JobRecord | None:
        """Return the record of a job, None where there is none.

        Raises QueueUnavailable or QueueFull.
        """
        partition = self._partitions.of_job(job_id)
        return await self._lookups[partition.number](_Lookup(job_id)) if partition else None

    async def close(self) -> None:
        """Wait until everything is answered."""
        await asyncio.gather(*[lookups.close() for lookups in self._lookups])


def _lookups_in(store: JobStore) -> GroupCommit[_Lookup, JobRecord | None]:
    def read(lookups: Sequence[_Lookup]) -> Sequence[JobRecord | None]:
        return store.read([lookup.job_id for lookup in lookups])

    return GroupCommit(
        on_thread("lookups", read),
        max_items=500,
        max_bytes=1024 * 1024,
        fails_all=True,
        room=Room(1024 * 1024, QueueFull),
        linger_seconds=LINGER_SECONDS,
    )
