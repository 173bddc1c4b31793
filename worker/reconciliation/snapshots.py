"""What Redis holds about jobs in all partitions, each asked about its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from job_store.counts import Counts
from job_store.partitions import Partitions
from job_store.snapshot import SnapshotReader, StoredJob

NOWHERE = StoredJob(b"", is_open=False, has_message=False)
"""What is known about a job that no partition can have."""


class Snapshots:
    """The readers of all partitions. Every method raises redis.RedisError."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self.all = [SnapshotReader(each.client, each.keys) for each in partitions.all]

    def counts(self) -> Counts:
        """Return what all partitions count, one after the other."""
        return Counts.sum([reader.counts() for reader in self.all])

    def divided(self, job_ids: Sequence[str]) -> Iterator[tuple[SnapshotReader, list[str]]]:
        """Yield each partition that has some of these jobs, with them."""
        jobs: dict[int, list[str]] = {}
        for job_id in job_ids:
            try:
                partition = self._partitions.of_job(job_id)
            except ValueError:
                # A message that is no job's.
                continue
            if partition is not None:
                jobs.setdefault(partition.number, []).append(job_id)
        for number, some in jobs.items():
            yield self.all[number], some

    def look_again(self, job_ids: Sequence[str]) -> list[StoredJob]:
        """Return what is known about these jobs, `CHUNK` at most; those of a partition at once."""
        found = dict.fromkeys(job_ids, NOWHERE)
        for reader, some in self.divided(job_ids):
            found.update(zip(some, reader.look_again(some), strict=True))
        return [found[job_id] for job_id in job_ids]
