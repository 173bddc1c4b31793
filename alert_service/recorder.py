"""Records alerts: writes the report first, then tells the watchers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import grpc
from ulid import ULID

from alert_service.aggregation import MAX_AGGREGATES, Aggregator
from alert_service.metrics import ALERTS, FAILURES, event_type_label
from alert_service.report_store import ReportStore, StoreFull, WriteResult, error_name
from alert_service.validation import correct_time, fill_defaults
from alert_service.watching import Watchers
from mesh.background import Background
from mesh.errors import CallError
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert, RaiseAlertRequest, RaiseAlertResponse, Report

log = logger("alert.recorder")

NOT_WRITTEN = "REPORT_NOT_WRITTEN"
FLUSH_SECONDS = 1.0

Result = TypeVar("Result")


class AlertRecorder:
    """Records every alert, whether a caller raised it or the gateway's log told of it.

    Alerts about requests that the gateway refused are aggregated, and written by threads of their
    own, `edge_writing`, so that other alerts never wait for them.
    """

    def __init__(
        self, store: ReportStore, writing: Executor, edge_writing: Executor, watchers: Watchers
    ) -> None:
        self._store = store
        self._writing = writing
        self._edge_writing = edge_writing
        self._watchers = watchers
        self._aggregator = Aggregator(self._write_first, self._rewrite)
        self._background = Background()

    async def record(
        self, request: RaiseAlertRequest, is_external: bool = False
    ) -> RaiseAlertResponse:
        """Return once the report of a valid request is on disk. Idempotent by `alert_id`.

        Assigns id and time when they are unset. A report that was begun is finished even when the
        caller goes away. Raises CallError when it cannot be written.
        """
        correct_time(request, is_external)
        report = Report(alert=_alert(request))
        if request.HasField("payload"):
            report.payload.CopyFrom(request.payload)
        alert_id = report.alert.alert_id
        try:
            if request.at_edge:
                alert = await self._background.run(self._aggregator.add(report))
                return RaiseAlertResponse(alert_id=alert.alert_id, report=alert.report)
            written = await self._background.run(self._write(report, self._writing))
        except StoreFull:
            raise CallError(
                grpc.StatusCode.UNAVAILABLE,
                "REPORTS_FULL",
                "The store of reports is full. Have the operator archive and remove old report "
                "files, then repeat the call.",
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

    async def flush_counts(self) -> None:
        """Update the reports of aggregates, about once a second. Runs until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                # The minute that has just ended may still get an alert that is on its way.
                await self._background.run(self._aggregator.flush(_minute() - 1))
            except OSError as error:
                log.error("counts not written", error=error_name(error))

    async def close(self) -> None:
        """Wait until every report that was begun is on disk or has failed, counts included."""
        await self._background.close()
        try:
            await self._aggregator.flush(_minute(), most=MAX_AGGREGATES)
        except OSError as error:
            log.error("counts not written", error=error_name(error))

    async def _write_first(self, report: Report) -> Alert:
        """Write the first report of an aggregate, and return the alert that is on disk."""
        written = await self._write(report, self._edge_writing)
        if written.is_new:
            return report.alert
        # This process was restarted since, or the aggregate's minute is over.
        alert_id = report.alert.alert_id
        alert = await self._call(self._edge_writing, lambda: self._store.read(alert_id))
        if alert is None:
            raise OSError("the report is not readable")
        return alert

    async def _rewrite(self, alert: Alert) -> None:
        await self._call(self._edge_writing, lambda: self._store.rewrite(alert))

    async def _write(self, report: Report, threads: Executor) -> WriteResult:
        alert = report.alert
        at_edge = threads is self._edge_writing
        try:
            written = await self._call(threads, lambda: self._store.write(report, at_edge))
        except StoreFull:
            FAILURES.labels("FULL").inc()
            log.error("reports full", alert_id=alert.alert_id)
            raise
        except OSError as error:
            FAILURES.labels(NOT_WRITTEN).inc()
            log.error("report not written", alert_id=alert.alert_id, error=error_name(error))
            raise
        self._aggregator.forget(written.removed)
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
            published = Alert()
            published.CopyFrom(alert)
            self._watchers.publish(published)
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
    return fill_defaults(alert)


def _minute() -> int:
    return int(time.time()) // 60
