"""Records alerts: writes the report first, then tells the watchers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import grpc
from ulid import ULID

from alert_service.aggregation import MAX_AGGREGATES, Aggregator
from alert_service.group_writer import GroupWriter
from alert_service.metrics import ALERTS, FAILURES, event_type_label
from alert_service.report_store import Outcome, ReportStore, StoreFull, error_name
from alert_service.validation import correct_time, fill_defaults
from alert_service.watching import Watchers
from mesh.background import Background
from mesh.errors import CallError
from mesh.logs import log_each, logger
from sluice.alert.v1.alert_service_pb2 import Alert, RaiseAlertRequest, RaiseAlertResponse, Report

LOG_NAME = "alert.recorder"
log = logger(LOG_NAME)

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
        self._writer = GroupWriter(store, writing)
        self._edge_writer = GroupWriter(store, edge_writing, at_edge=True)
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
        if not request.at_edge:
            (receipt,) = await self.record_all([request], is_external)
            if isinstance(receipt, CallError):
                raise receipt
            return receipt
        try:
            return await self._background.run(self._aggregate(_report(request, is_external)))
        except (StoreFull, OSError) as error:
            raise _refused(error, request.alert_id) from None

    async def record_all(
        self, requests: Sequence[RaiseAlertRequest], is_external: bool = False
    ) -> list[RaiseAlertResponse | CallError]:
        """Return the receipt of each alert, or why it has none, in order; none may be `at_edge`.

        In all else as `record`.
        """
        reports = [_report(request, is_external) for request in requests]
        outcomes = await self._background.run(self._write(reports, self._writer))
        return [
            _refused(outcome, request.alert_id)
            if isinstance(outcome, Exception)
            else RaiseAlertResponse(alert_id=report.alert.alert_id, report=outcome.name)
            for request, report, outcome in zip(requests, reports, outcomes, strict=True)
        ]

    async def _aggregate(self, report: Report) -> RaiseAlertResponse:
        alert = await self._aggregator.add(report)
        return RaiseAlertResponse(alert_id=alert.alert_id, report=alert.report)

    async def flush_counts(self) -> None:
        """Update the reports of aggregates, about once a second while there are any.

        Runs until cancelled.
        """
        while True:
            await self._aggregator.await_any()
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
        (outcome,) = await self._write([report], self._edge_writer)
        if isinstance(outcome, Exception):
            raise outcome
        self._aggregator.forget(outcome.removed)
        if outcome.is_new:
            return report.alert
        # This process was restarted since, or the aggregate's minute is over.
        alert_id = report.alert.alert_id
        alert = await self._call(lambda: self._store.read(alert_id))
        if alert is None:
            raise OSError("the report is not readable")
        return alert

    async def _rewrite(self, alert: Alert) -> None:
        await self._call(lambda: self._store.rewrite(alert))

    async def _write(self, reports: Sequence[Report], writer: GroupWriter) -> list[Outcome]:
        outcomes = await writer.write(reports)
        new = []
        for report, outcome in zip(reports, outcomes, strict=True):
            alert = report.alert
            if isinstance(outcome, StoreFull):
                FAILURES.labels("FULL").inc()
                log.error("reports full", alert_id=alert.alert_id)
            elif isinstance(outcome, OSError):
                FAILURES.labels(NOT_WRITTEN).inc()
                log.error("report not written", alert_id=alert.alert_id, error=error_name(outcome))
            elif outcome.is_new:
                alert.report = outcome.name
                new.append(alert)
        for alert in new:
            ALERTS.labels(event_type_label(alert.event_type)).inc()
            self._watchers.publish(alert)
        log_each(
            LOG_NAME,
            "report written",
            {
                "alert_id": [alert.alert_id for alert in new],
                "event_type": [alert.event_type for alert in new],
                "report": [alert.report for alert in new],
                "findings": [len(alert.findings) for alert in new],
                "violations": [len(alert.violations) for alert in new],
            },
        )
        return outcomes

    async def _call(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._edge_writing, work)


def _refused(error: StoreFull | OSError, alert_id: str) -> CallError:
    """Return what the caller gets whose alert, with this id if it had one, is not on disk."""
    if isinstance(error, StoreFull):
        return CallError(
            grpc.StatusCode.UNAVAILABLE,
            "REPORTS_FULL",
            "The store of reports is full. Have the operator archive and remove old report files, "
            "then repeat the call.",
            retry_after=60.0,
        )
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        NOT_WRITTEN,
        "The report could not be written. Repeat the call with the same alert_id.",
        metadata={"alert_id": alert_id} if alert_id else {},
        retry_after=1.0,
    )


def _report(request: RaiseAlertRequest, is_external: bool) -> Report:
    correct_time(request, is_external)
    report = Report(alert=_alert(request))
    if request.HasField("payload"):
        report.payload.CopyFrom(request.payload)
    return report


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
    # No report shows it, and it may lie so deep that no watcher could read the alert.
    alert.DiscardUnknownFields()
    return fill_defaults(alert)


def _minute() -> int:
    return int(time.time()) // 60
