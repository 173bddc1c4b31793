"""Whether the queue takes submissions: asked of each partition."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from job_store.metrics import PARTITIONS_UNAVAILABLE
from job_store.partitions import Partitions
from job_store.store import JobStore
from mesh.health import Unhealthy
from mesh.logs import logger

log = logger("ingest.partitions")

ANSWER_SECONDS = 1.0
"""After which a partition counts as unavailable; it is asked again when it has answered."""


class PartitionProbe:
    """Health of the queue: it is good while any partition takes submissions."""

    def __init__(self, partitions: Partitions, stores: Sequence[JobStore]) -> None:
        self._partitions = partitions
        self._stores = stores
        self._agreed = False
        self._threads = ThreadPoolExecutor(len(stores), thread_name_prefix="probe")
        self._probes: dict[int, asyncio.Future[None]] = {}
        self._reasons: dict[int, str] = {}

    async def __call__(self) -> None:
        """Ask each partition once. Raises what the first of them said when none is available."""
        if not self._agreed:
            await asyncio.to_thread(self._partitions.require_agreement)
            self._agreed = True
        loop = asyncio.get_running_loop()
        for number, store in enumerate(self._stores):
            if number not in self._probes:
                self._probes[number] = loop.run_in_executor(self._threads, store.probe)
        await asyncio.wait(self._probes.values(), timeout=ANSWER_SECONDS)
        errors: dict[int, BaseException] = {}
        for number, probe in list(self._probes.items()):
            if not probe.done():
                errors[number] = TimeoutError()
                continue
            del self._probes[number]
            if (error := probe.exception()) is not None:
                errors[number] = error
        self._tell(errors)
        if len(errors) == len(self._stores):
            raise errors[0]

    def _tell(self, errors: dict[int, BaseException]) -> None:
        PARTITIONS_UNAVAILABLE.set(len(errors))
        reasons = {
            number: str(error) if isinstance(error, Unhealthy) else type(error).__name__
            for number, error in errors.items()
        }
        if len(self._stores) > 1:
            for number in range(len(self._stores)):
                reason = reasons.get(number)
                if reason != self._reasons.get(number):
                    log.warning("partition", partition=number, healthy=not reason, reason=reason)
        self._reasons = reasons
