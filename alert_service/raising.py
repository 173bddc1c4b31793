"""Raises alerts: the report first, then everyone who has to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

import grpc
from ulid import ULID

from alert_service.folding import MAX_FOLDS, Folds
from alert_service.metrics import ALERTS, FAILURES, event_type_label
from alert_service.reports import Full, Reports, Written, error_name
from alert_service.validation import completed, to_plausible_time
from alert_service.watching import Watchers
from mesh.errors import CallError
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert, RaiseAlertRequest, RaiseAlertResponse, Report

log = logger("alert.raising")

NOT_WRITTEN = "REPORT_NOT_WRITTEN"
FLUSH_SECONDS = 1.0

Result = TypeVar("Result")


class Raiser:
    """The one way to an alert, for a caller as for the gateway's log.

    What the gateway refused by itself is folded and written by threads of its own, `edge_writing`,
    so that alerts about what was sent never wait for it.
    """

    def __init__(
        self, reports: Reports, writing: Executor, edge_writing: Executor, watchers: Watchers
    ) -> None:
        self._reports = reports
        self._writing = writing
        self._edge_writing = edge_writing
        self._watchers = watchers
        self._folds = Folds(self._write_first, self._rewrite)
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def raise_alert(
        self, request: RaiseAlertRequest, from_outside: bool = False
    ) -> RaiseAlertResponse:
        """Return once the report of a valid request is on disk. Idempotent by `alert_id`.

        Assigns id and time when they are unset. A report that was begun is finished even when the
        caller goes away. Raises CallError when it cannot be written.
        """
        to_plausible_time(request, from_outside)
        report = Report(alert=_alert(request))
        if request.HasField("payload"):
            report.payload.CopyFrom(request.payload)
        alert_id = report.alert.alert_id
        try:
            if request.at_edge:
                standing = await self._finish(self._folds.take(report))
                return RaiseAlertResponse(alert_id=standing.alert_id, report=standing.report)
            written = await self._finish(self._write(report, self._writing))
        except Full:
            raise CallError(
                grpc.StatusCode.UNAVAILABLE,
                "REPORTS_FULL",
                "As many reports are kept as may be. Have the operator archive and remove old "
                "report files, then repeat the call.",
                retry_after=60.0,
            ) from None
        except OSError:
            raise CallError(
                grpc.StatusCode.UNAVAILABLE,
                NOT_WRITTEN,
                "The report could not be written. Repeat the call with the same alert_id.",
                metadata={"alert_id": alert_id} if request.alert_id else {},
                retry_after=1.0,
            ) from None
        return RaiseAlertResponse(alert_id=alert_id, report=written.name)

    async def keep_counts(self) -> None:
        """Bring the reports of folds up to date, about once a second. Runs until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                # The minute that has just ended may still get an alert that was under way.
                await self._finish(self._folds.flush(_minute() - 1))
            except OSError as error:
                log.error("counts not written", error=error_name(error))

    async def close(self) -> None:
        """Wait until every report that was begun is on disk or has failed, counts included."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)
        try:
            await self._folds.flush(_minute(), most=MAX_FOLDS)
        except OSError as error:
            log.error("counts not written", error=error_name(error))

    async def _finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await work that goes on when the caller goes away."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

    async def _write_first(self, report: Report) -> Alert:
        """Write the report of a fold, and return the alert that stands there."""
        written = await self._write(report, self._edge_writing)
        if written.is_new:
            return report.alert
        # This process was started anew since, or the fold's minute is over.
        alert_id = report.alert.alert_id
        standing = await self._call(self._edge_writing, lambda: self._reports.read(alert_id))
        if standing is None:
            raise OSError("the report is not readable")
        return standing

    async def _rewrite(self, alert: Alert) -> None:
        await self._call(self._edge_writing, lambda: self._reports.rewrite(alert))

    async def _write(self, report: Report, threads: Executor) -> Written:
        alert = report.alert
        at_edge = threads is self._edge_writing
        try:
            written = await self._call(threads, lambda: self._reports.write(report, at_edge))
        except Full:
            FAILURES.labels("FULL").inc()
            log.error("reports full", alert_id=alert.alert_id)
            raise
        except OSError as error:
            FAILURES.labels(NOT_WRITTEN).inc()
            log.error("report not written", alert_id=alert.alert_id, error=error_name(error))
            raise
        self._folds.forget(written.removed)
        if written.is_new:
            ALERTS.labels(event_type_label(alert.event_type)).inc()
            log.info(
                "report written",
                alert_id=alert.alert_id,
                event_type=alert.event_type,
                report=written.name,
                findings=len(alert.findings),
                violations=len(alert.violations),
            )
            alert.report = written.name
            told = Alert()
            told.CopyFrom(alert)
            self._watchers.tell(told)
        return written

    async def _call(self, threads: Executor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, work)


def _alert(request: RaiseAlertRequest) -> Alert:
    alert = Alert(
        alert_id=request.alert_id or str(ULID()).lower(),
        event_type=request.event_type,
        source=request.source,
        findings=request.findings,
        violations=request.violations,
        request_id=request.request_id,
        http_request_id=request.http_request_id,
        message=request.message,
        raise_time=request.raise_time,
        client=request.client,
        finding_count=request.finding_count,
        violation_count=request.violation_count,
        cut=request.cut,
        detectors=request.detectors,
    )
    return completed(alert)


def _minute() -> int:
    return int(time.time()) // 60
