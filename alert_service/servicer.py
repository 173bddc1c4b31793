"""The AlertService of the contract: checks calls, and raises or reads alerts for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor

import grpc

from alert_service.identity import gateway_id, take_from_outside
from alert_service.index import Conditions
from alert_service.names import is_namable, moment_of, page_token, parse_page_token
from alert_service.raising import Raiser
from alert_service.reports import Reports, error_name
from alert_service.text import Unreadable
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
from mesh.logs import logger
from mesh.server import Context
from sluice.alert.v1 import alert_service_pb2 as contract
from sluice.alert.v1.alert_service_pb2 import Alert
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceServicer

log = logger("alert.servicer")

DEFAULT_PAGE = 50
MAX_PAGE = 500


class AlertServicer(AlertServiceServicer):
    """Answers the calls of sluice.alert.v1.AlertService."""

    def __init__(
        self, raiser: Raiser, reports: Reports, reading: Executor, watchers: Watchers
    ) -> None:
        self._raiser = raiser
        self._reports = reports
        self._reading = reading
        self._watchers = watchers

    async def RaiseAlert(
        self, request: contract.RaiseAlertRequest, context: Context
    ) -> contract.RaiseAlertResponse:
        """Write the report of an alert."""
        violations = violations_of(request)
        if violations:
            raise _invalid("No alert was raised. Mend the fields named.", violations)
        outside_id = gateway_id(context.invocation_metadata())
        if outside_id is None:
            if not is_name(request.http_request_id):
                # What no gateway would make is no reason to refuse an alert.
                request.http_request_id = ""
            return await self._raiser.raise_alert(request)
        try:
            take_from_outside(request, self._reports.key)
        except OSError as error:
            raise _not_read(error) from None
        request.http_request_id = outside_id if is_name(outside_id) else ""
        return await self._raiser.raise_alert(request, from_outside=True)

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
            except Unreadable:
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
        alert = self._reports.read(alert_id)
        together = without_client(alert_id)
        if alert is None and together != alert_id:
            # There were too many clients to tell apart.
            alert = self._reports.read(together)
        return alert

    async def ListAlerts(
        self, request: contract.ListAlertsRequest, context: Context
    ) -> contract.ListAlertsResponse:
        """Return one page of alerts, newest first, without their payloads."""
        violations = _broken_rules(request)
        if violations:
            raise _invalid("Nothing was listed. Mend the fields named.", violations)
        conditions = Conditions(
            event_type=request.event_type,
            detector=request.detector,
            source=request.source,
            start=moment_of(request.start_time) if request.HasField("start_time") else None,
            end=moment_of(request.end_time) if request.HasField("end_time") else None,
        )
        try:
            page = await asyncio.get_running_loop().run_in_executor(
                self._reading,
                self._reports.page,
                request.page_size or DEFAULT_PAGE,
                parse_page_token(request.page_token),
                conditions,
            )
        except OSError as error:
            raise _not_read(error) from None
        return contract.ListAlertsResponse(
            alerts=page.alerts, next_page_token=page_token(page.next)
        )

    async def WatchAlerts(
        self, request: contract.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[contract.WatchAlertsResponse]:
        """Send every alert that is raised from now on."""
        with self._watchers.join() as alerts:
            # The caller sees from this that it misses nothing any more.
            await context.send_initial_metadata(())
            async for alert in alerts:
                yield contract.WatchAlertsResponse(alert=alert)


def _broken_rules(request: contract.ListAlertsRequest) -> list[FieldError]:
    found = []
    if request.page_size > MAX_PAGE:
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
    # A time that is not given is one that has a name.
    for field in ("start_time", "end_time"):
        if not is_namable(getattr(request, field)):
            found.append(FieldError(f"/{field}", "BAD_TIME", TIME_RULE))
    return found


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
