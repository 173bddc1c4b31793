"""The store of jobs for tests that are no coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from functools import cache
from typing import Any, TypeVar

from job_store.admission import Admission
from job_store.partitions import Partition, Partitions
from job_store.request_ids import Request
from job_store.settings import StoreSettings
from job_store.store import Entry, JobStore, Receipt
from sluice.job.v1.job_pb2 import JobRecord, RequestRecord

Result = TypeVar("Result")


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
    ) -> None:
        self.store = JobStore(
            partition,
            admission or Admission(partition),
            record_seconds=record_seconds,
            request_seconds=request_seconds,
        )

    @property
    def secret(self) -> bytes:
        return self.store.secret

    def probe(self) -> None:
        _run(self.store.probe())

    def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        return _run(self.store.commit(entries))

    def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | None]:
        return _run(self.store.look_up(requests))

    def read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        return _run(self.store.read(job_ids))


def _run(call: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run_coroutine_threadsafe(call, _loop()).result(30)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop
