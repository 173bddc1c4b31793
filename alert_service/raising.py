"""Raises alerts: the report first, then everyone who has to know."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

import grpc
from ulid import ULID

from alert_service.catalogue import Full
from alert_service.metrics import ALERTS, FAILURES, event_type_label
from alert_service.reports import Reports, Written, error_name
from alert_service.watching import Watchers
from mesh.errors import CallError
from mesh.logs import logger
from sluice.alert.v1.alert_service_pb2 import Alert, RaiseAlertRequest, RaiseAlertResponse, Report

log = logger("alert.raising")

NOT_WRITTEN = "REPORT_NOT_WRITTEN"


class Raiser:
    """The one way to an alert, for a caller as for the gateway's log."""

    def __init__(self, reports: Reports, writing: Executor, watchers: Watchers) -> None:
        self._reports = reports
        self._writing = writing
        self._watchers = watchers
        self._unfinished: set[asyncio.Task[Written]] = set()

    async def raise_alert(self, request: RaiseAlertRequest) -> RaiseAlertResponse:
        """Return once the report of a valid request is on disk. Idempotent by `alert_id`.

        Assigns id and time when they are unset. A report that was begun is finished even when the
        caller goes away. Raises CallError when it cannot be written.
        """
        report = Report(alert=_alert(request))
        if request.HasField("payload"):
            report.payload.CopyFrom(request.payload)
        alert_id = report.alert.alert_id
        task = asyncio.create_task(self._write(report))
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        try:
            written = await asyncio.shield(task)
        except Full:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
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
                metadata={"alert_id": alert_id},
                retry_after=1.0,
            ) from None
        return RaiseAlertResponse(alert_id=alert_id, report=written.name)

    async def close(self) -> None:
        """Wait until every report that was begun is on disk or has failed."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    async def _write(self, report: Report) -> Written:
        alert = report.alert
        try:
            written = await asyncio.get_running_loop().run_in_executor(
                self._writing, self._reports.write, report
            )
        except Full:
            FAILURES.labels("FULL").inc()
            log.error("reports full", alert_id=alert.alert_id)
            raise
        except OSError as error:
            FAILURES.labels(NOT_WRITTEN).inc()
            log.error("report not written", alert_id=alert.alert_id, error=error_name(error))
            raise
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
            self._watchers.tell(alert)
        return written


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
    )
    if request.HasField("raise_time"):
        alert.raise_time.CopyFrom(request.raise_time)
    else:
        alert.raise_time.GetCurrentTime()
    return alert
