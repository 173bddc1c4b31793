"""The AlertService of the contract: checks calls, and records or reads alerts for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor

import grpc

from alert_service.identity import restrict_external
from alert_service.index import Filter
from alert_service.names import is_namable, moment_of, page_token, parse_page_token
from alert_service.recorder import AlertRecorder
from alert_service.report_store import ReportStore, error_name
from alert_service.text import UnreadableReport
from alert_service.validation import (
    NAME_RULE,
    TIME_RULE,
    is_alert_id,
    is_event_type,
    is_name,
    violations_of,
)
from alert_service.watching import Watchers
from mesh.errors import CallError, FieldError
from mesh.fingerprint import without_client
from mesh.handlers import Context, gateway_request_id
from mesh.logs import logger
from sluice.alert.v1 import alert_service_pb2 as contract
from sluice.alert.v1.alert_service_pb2 import Alert
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceServicer

log = logger("alert.servicer")

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500


class AlertServicer(AlertServiceServicer):
    """Answers the calls of sluice.alert.v1.AlertService."""

    def __init__(
        self, recorder: AlertRecorder, store: ReportStore, reading: Executor, watchers: Watchers
    ) -> None:
        self._recorder = recorder
        self._store = store
        self._reading = reading
        self._watchers = watchers

    async def RaiseAlert(
        self, request: contract.RaiseAlertRequest, context: Context
    ) -> contract.RaiseAlertResponse:
        """Record an alert."""
        violations = violations_of(request)
        if violations:
            raise invalid_alert(violations)
        # The gateway gives an id to every call that it forwards; calls within the mesh have none.
        outside_id = gateway_request_id(context)
        is_external = outside_id is not None
        if is_external:
            try:
                restrict_external(request, self._store.hmac_key)
            except OSError as error:
                raise _not_read(error) from None
        http_request_id = request.http_request_id if outside_id is None else outside_id
        # A malformed id is no reason to refuse an alert.
        request.http_request_id = http_request_id if is_name(http_request_id) else ""
        return await self._recorder.record(request, is_external)

    async def GetAlert(
        self, request: contract.GetAlertRequest, context: Context
    ) -> contract.GetAlertResponse:
        """Return one alert, without the payload."""
        alert = None
        if is_alert_id(request.alert_id):
            try:
                alert = await asyncio.get_running_loop().run_in_executor(
                    self._reading, self._read, request.alert_id
                )
            except UnreadableReport:
                raise CallError(
                    grpc.StatusCode.DATA_LOSS,
                    "REPORT_UNREADABLE",
                    "The report file of this alert was changed and cannot be read. Have the "
                    "operator look at it.",
                ) from None
            except OSError as error:
                raise _not_read(error) from None
        if alert is None:
            raise CallError(
                grpc.StatusCode.NOT_FOUND,
                "ALERT_UNKNOWN",
                "There is no such alert. Take the id from a list of alerts.",
            )
        return contract.GetAlertResponse(alert=alert)

    def _read(self, alert_id: str) -> Alert | None:
        alert = self._store.read(alert_id)
        shared_id = without_client(alert_id)
        if alert is None and shared_id != alert_id:
            # There were too many clients to tell apart.
            alert = self._store.read(shared_id)
        return alert

    async def ListAlerts(
        self, request: contract.ListAlertsRequest, context: Context
    ) -> contract.ListAlertsResponse:
        """Return one page of alerts, newest first, without their payloads."""
        violations = _broken_rules(request)
        if violations:
            raise _invalid("Nothing was listed. Correct the fields listed.", violations)
        wanted = Filter(
            event_type=request.event_type,
            detector=request.detector,
            source=request.source,
            start=moment_of(request.start_time) if request.HasField("start_time") else None,
            end=moment_of(request.end_time) if request.HasField("end_time") else None,
        )
        try:
            page = await asyncio.get_running_loop().run_in_executor(
                self._reading,
                self._store.page,
                request.page_size or DEFAULT_PAGE_SIZE,
                parse_page_token(request.page_token),
                wanted,
            )
        except OSError as error:
            raise _not_read(error) from None
        return contract.ListAlertsResponse(
            alerts=page.alerts, next_page_token=page_token(page.next)
        )

    async def WatchAlerts(
        self, request: contract.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[contract.WatchAlertsResponse]:
        """Send every alert that is recorded from now on."""
        with self._watchers.subscribe() as alerts:
            # This tells the caller that from now on it misses nothing.
            await context.send_initial_metadata(())
            async for alert in alerts:
                yield contract.WatchAlertsResponse(alert=alert)


def _broken_rules(request: contract.ListAlertsRequest) -> list[FieldError]:
    found = []
    if request.page_size > MAX_PAGE_SIZE:
        found.append(FieldError("/page_size", "TOO_LARGE", "Send at most 500."))
    if request.page_token and parse_page_token(request.page_token) is None:
        found.append(FieldError("/page_token", "BAD_TOKEN", "Send the next_page_token of a page."))
    if request.event_type and not is_event_type(request.event_type):
        found.append(
            FieldError("/event_type", "BAD_WORD", "Send UPPER_SNAKE_CASE of at most 64 characters.")
        )
    for field in ("detector", "source"):
        if getattr(request, field) and not is_name(getattr(request, field)):
            found.append(FieldError(f"/{field}", "BAD_NAME", NAME_RULE))
    # A time that is not set is 1970, which is namable.
    for field in ("start_time", "end_time"):
        if not is_namable(getattr(request, field)):
            found.append(FieldError(f"/{field}", "BAD_TIME", TIME_RULE))
    return found


def invalid_alert(violations: list[FieldError]) -> CallError:
    """Return the error for an alert that breaks these rules."""
    return _invalid("No alert was raised. Correct the fields listed.", violations)


def _invalid(message: str, fields: list[FieldError]) -> CallError:
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", message, fields=fields)


def _not_read(error: OSError) -> CallError:
    log.error("reports not read", error=error_name(error))
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "REPORTS_NOT_READ",
        "The reports cannot be read at the moment. Repeat the call.",
        retry_after=1.0,
    )
