"""Group commit of reports: those that come while some are being written are written together next.

What makes a report durable costs little more for many than for one. One alert alone never waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor

from alert_service.report_store import Outcome, ReportStore
from sluice.alert.v1.alert_service_pb2 import Report

MAX_REPORTS = 128
"""Written together: all of their files are open then."""
MAX_BYTES = 2 * 1024 * 1024
"""Of the alerts and payloads that are written together, whose texts are in memory then; a larger
one is written alone."""


class GroupWriter:
    """Writes the reports of one directory, in order, one group at a time, on `thread`."""

    def __init__(self, store: ReportStore, thread: Executor, *, at_edge: bool = False) -> None:
        self._store = store
        self._thread = thread
        self._at_edge = at_edge
        self._waiting: deque[tuple[Report, asyncio.Future[Outcome]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, reports: Sequence[Report]) -> list[Outcome]:
        """Return what became of each report, when all of them are on disk or failed.

        Idempotent, as the store is. Whoever is cancelled while waiting loses the answer, not the
        reports.
        """
        outcomes = [self._begin(report) for report in reports]
        return [await outcome for outcome in outcomes]

    def _begin(self, report: Report) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, outcome))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        return outcome

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = self._take_group()
            reports = [report for report, _ in group]
            outcomes: Sequence[Outcome]
            try:
                outcomes = await loop.run_in_executor(
                    self._thread, self._store.write_all, reports, self._at_edge
                )
            except OSError as error:
                outcomes = [error] * len(group)
            except Exception as error:
                for _, waiting in group:
                    if not waiting.done():
                        waiting.set_exception(error)
                continue
            for (_, waiting), outcome in zip(group, outcomes, strict=True):
                if not waiting.done():
                    waiting.set_result(outcome)
        self._writing = None

    def _take_group(self) -> list[tuple[Report, asyncio.Future[Outcome]]]:
        group = [self._waiting.popleft()]
        size = group[0][0].ByteSize()
        while self._waiting and len(group) < MAX_REPORTS:
            size += self._waiting[0][0].ByteSize()
            if size > MAX_BYTES:
                break
            group.append(self._waiting.popleft())
        return group
