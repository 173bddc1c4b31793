"""The store of jobs for tests that are no coroutines."""

from __future__ import annotations

from collections.abc import Sequence

from job_store.admission import Admission
from job_store.partitions import Partition, Partitions
from job_store.request_ids import Request
from job_store.settings import StoreSettings
from job_store.store import Entry, JobStore, Receipt
from sluice.job.v1.job_pb2 import JobRecord, RequestRecord
from tests.kit.threads import on_a_loop


def only_partition(url: str) -> Partition:
    """Return the partition of a single Redis."""
    (partition,) = Partitions.of(StoreSettings(redis_url=url)).all
    return partition


class BlockingJobStore:
    """A JobStore whose methods may be called on any thread. All run on one event loop."""

    def __init__(
        self,
        partition: Partition,
        admission: Admission | None = None,
        *,
        record_seconds: int = 600,
        request_seconds: int = 600,
        confirming_replicas: int = 0,
    ) -> None:
        self.store = JobStore(
            partition,
            admission or Admission(partition),
            record_seconds=record_seconds,
            request_seconds=request_seconds,
            confirming_replicas=confirming_replicas,
        )

    @property
    def secret(self) -> bytes:
        return self.store.secret

    def probe(self) -> None:
        on_a_loop(self.store.probe())

    def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        return on_a_loop(self.store.commit(entries))

    def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | None]:
        return on_a_loop(self.store.look_up(requests))

    def read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        return on_a_loop(self.store.read(job_ids))
