"""Group commit of reports: those that come while some are being written are written together next.

What makes a report durable costs little more for many than for one. One alert alone never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from alert_service.report_store import Outcome, ReportStore
from mesh.group_commit import GroupCommit
from sluice.alert.v1.alert_service_pb2 import Report

MAX_REPORTS = 128
"""Written together: all of their files are open then."""
MAX_BYTES = 2 * 1024 * 1024
"""Of the alerts and payloads that are written together, whose texts are in memory then; a larger
one is written alone."""


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A report and its size."""

    report: Report
    bytes: int
    items: int = 1


class GroupWriter:
    """Writes the reports of one directory, in order, one group at a time, on `thread`."""

    def __init__(self, store: ReportStore, thread: Executor, *, at_edge: bool = False) -> None:
        self._store = store
        self._thread = thread
        self._at_edge = at_edge
        self._writing = GroupCommit(
            self._write, max_items=MAX_REPORTS, max_bytes=MAX_BYTES, fails_all=False
        )

    async def write(self, reports: Sequence[Report]) -> list[Outcome]:
        """Return what became of each report, when all of them are on disk or failed.

        Idempotent, as the store is. Whoever is cancelled while waiting loses the answer, not the
        reports.
        """
        outcomes = [self._writing(_Weighed(report, report.ByteSize())) for report in reports]
        return [await outcome for outcome in outcomes]

    async def _write(self, group: Sequence[_Weighed]) -> Sequence[Outcome]:
        reports = [each.report for each in group]
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._store.write_all, reports, self._at_edge
            )
        except OSError as error:
            return [error] * len(group)
