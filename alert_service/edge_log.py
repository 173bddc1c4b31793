"""Alerts about what the gateway refused by itself, as told by its access log.

Envoy streams an entry for every request that it refused and no service has seen. An entry holds
what the caller sent, a path and a query among it; none of that goes into the alert.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.message import DecodeError

from alert_service.metrics import EDGE_FAILURES, EDGE_REFUSALS
from alert_service.raising import NOT_WRITTEN, Raiser
from alert_service.validation import is_alert_id, is_name, violations_of
from mesh.errors import CallError
from mesh.logs import logger
from mesh.server import Context
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.verdict.v1.verdict_pb2 import Violation

log = logger("alert.edge_log")

NAME = "envoy.service.accesslog.v3.AccessLogService"

ENTRIES_AT_ONCE = 16
RETRY_SECONDS = 0.5

_MADE_BY_A_SERVICE = "via_upstream"
_MADE_BY_A_ROUTE = "direct_response"
# Says nothing about what was sent, and an alert for each would add to the load.
_TOO_MANY_REQUESTS = 429
_UNIMPLEMENTED = str(grpc.StatusCode.UNIMPLEMENTED.value[0])

_NOT_A_WORD = re.compile(r"[^A-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule that a refused request broke."""

    name: str
    description: str


_BAD_PATH = Rule("BAD_PATH", "The path holds escapes that are not taken. Send it plainly.")
_BAD_QUERY = Rule("BAD_QUERY", "A query parameter is unknown or unreadable. Send documented ones.")
_MALFORMED_JSON = Rule(
    "MALFORMED_JSON", "The body is no JSON object that fits the contract. Send the documented one."
)
_BY_DETAILS = {
    "early_grpc_json_transcode_failure": _BAD_QUERY,
    "grpc_json_transcode_failure": _MALFORMED_JSON,
    "path_normalization_failed": _BAD_PATH,
}
_BY_STATUS = {
    403: Rule("FOREIGN_ORIGIN", "The page that calls is of an origin that may not call."),
    404: Rule("UNKNOWN_PATH", "There is nothing at this path. Send to a documented one."),
    405: Rule("METHOD_NOT_ALLOWED", "The path does not take this method. Send the documented one."),
    408: Rule("REQUEST_TIMEOUT", "The request took too long to arrive. Send it again."),
    413: Rule("BODY_TOO_LARGE", "The body is too large. Send at most 1 MiB, or 4 MiB in a batch."),
    415: Rule("UNSUPPORTED_MEDIA_TYPE", "The path takes JSON only. Send application/json."),
    421: Rule("UNKNOWN_HOST", "The gateway does not go by this host name. Call it as localhost."),
    431: Rule("HEADERS_TOO_LARGE", "The headers are too large. Send fewer or shorter ones."),
}
# Routes that refuse gRPC too, whose status is another one.
_BY_ROUTE = {
    "foreign_origin": _BY_STATUS[403],
    "foreign_page": _BY_STATUS[403],
    "unknown_host": _BY_STATUS[421],
    "submit_not_json": _BY_STATUS[415],
    "not_json": _BY_STATUS[415],
    "door_not_json": _BY_STATUS[415],
}
_UNKNOWN_METHOD = Rule("UNKNOWN_METHOD", "There is no such method. Call one that reflection tells.")
_KNOWN = {rule.name for rule in (*_BY_DETAILS.values(), *_BY_STATUS.values(), _UNKNOWN_METHOD)}


class EdgeLog:
    """Answers Envoy's StreamAccessLogs. Nothing in an entry ends the stream."""

    def __init__(self, raiser: Raiser) -> None:
        self._raiser = raiser
        self._streams: set[asyncio.Task[None]] = set()
        self._is_ending = False

    def end_streams(self) -> None:
        """End every stream; Envoy opens another one elsewhere, or here once this process is back.

        Reports that were begun are finished.
        """
        self._is_ending = True
        for stream in self._streams:
            stream.cancel()

    async def StreamAccessLogs(
        self, request_iterator: AsyncIterator[bytes], context: Context
    ) -> StreamAccessLogsResponse:
        """Raise an alert for every refusal, for as long as Envoy sends them."""
        stream = asyncio.create_task(self._read(request_iterator))
        self._streams.add(stream)
        try:
            await stream
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
        finally:
            self._streams.discard(stream)
        return StreamAccessLogsResponse()

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        async for data in messages:
            try:
                entries = StreamAccessLogsMessage.FromString(data).http_logs.log_entry
            except DecodeError:
                _note_failure("UNDECODABLE")
                continue
            for start in range(0, len(entries), ENTRIES_AT_ONCE):
                await asyncio.gather(
                    *[self._take(entry) for entry in entries[start : start + ENTRIES_AT_ONCE]]
                )

    async def _take(self, entry: HTTPAccessLogEntry) -> None:
        try:
            alert = alert_of(entry)
            if alert is None:
                return
            if violations_of(alert):
                _note_failure("BAD_ENTRY")
                return
            await self._raise(alert)
        except CallError as error:
            _note_failure(error.reason)
        except Exception as error:
            log.error("entry failed", exc_info=error)
            _note_failure("UNEXPECTED")

    async def _raise(self, alert: RaiseAlertRequest) -> None:
        """Raise the alert, and wait for a disk that takes no reports: Envoy tells it only once."""
        while True:
            try:
                await self._raiser.raise_alert(alert)
            except CallError as error:
                if error.reason != NOT_WRITTEN:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                continue
            rule = alert.violations[0].rule
            EDGE_REFUSALS.labels(rule if rule in _KNOWN else "OTHER").inc()
            return


def add_to_server(log_service: EdgeLog, server: Any) -> None:
    """Register the service.

    The generated code would decode each message before we see it, and one that cannot be decoded
    would end the stream; so the messages come as bytes.
    """
    stream = grpc.stream_unary_rpc_method_handler(
        log_service.StreamAccessLogs,
        request_deserializer=bytes,
        response_serializer=StreamAccessLogsResponse.SerializeToString,
    )
    server.add_registered_method_handlers(NAME, {"StreamAccessLogs": stream})


def alert_of(entry: HTTPAccessLogEntry) -> RaiseAlertRequest | None:
    """Return the alert about a request, or None when the gateway did not refuse it for its shape.

    The same entry gives the same `alert_id`, so that it is counted once. Of what the caller sent,
    only the method is named.
    """
    status = entry.response.response_code.value
    rule = _rule(entry)
    if rule is None:
        return None
    request_id = _request_id(entry)
    alert = RaiseAlertRequest(
        alert_id=_alert_id(entry, request_id),
        event_type="INVALID_INPUT",
        violations=[Violation(path="", rule=rule.name, description=rule.description)],
        http_request_id=request_id if is_name(request_id) else "",
        message=_message(entry, status),
        client=entry.common_properties.downstream_direct_remote_address.socket_address.address,
        at_edge=True,
    )
    if entry.common_properties.HasField("start_time"):
        alert.raise_time.CopyFrom(entry.common_properties.start_time)
    return alert


def _rule(entry: HTTPAccessLogEntry) -> Rule | None:
    if entry.response.response_headers.get("grpc-status") == _UNIMPLEMENTED:
        # Whether the gateway has no route for it or the service no such method.
        return _UNKNOWN_METHOD
    status = entry.response.response_code.value
    details = entry.response.response_code_details.partition("{")[0]
    if details == _MADE_BY_A_ROUTE and entry.common_properties.route_name in _BY_ROUTE:
        return _BY_ROUTE[entry.common_properties.route_name]
    if not 400 <= status < 500 or status == _TOO_MANY_REQUESTS or details == _MADE_BY_A_SERVICE:
        return None
    return _BY_DETAILS.get(details) or _BY_STATUS.get(status) or _other(details)


def _other(details: str) -> Rule:
    word = _NOT_A_WORD.sub("_", details.upper()).strip("_")[:64]
    return Rule(word or "REFUSED", "The gateway refused the request before any service saw it.")


def _request_id(entry: HTTPAccessLogEntry) -> str:
    """Return the gateway's request id.

    What fails before it has a route has none yet, and may hold one that the caller made up.
    """
    return entry.request.request_id if entry.common_properties.route_name else ""


def _alert_id(entry: HTTPAccessLogEntry, request_id: str) -> str:
    """Return an id made from the gateway's request id; what fails too early has none."""
    alert_id = f"edge-{request_id}"
    if request_id and is_alert_id(alert_id):
        return alert_id
    digest = hashlib.sha256(entry.SerializeToString(deterministic=True)).hexdigest()
    return f"edge-{digest[:32]}"


def _message(entry: HTTPAccessLogEntry, status: int) -> str:
    method = entry.request.request_method
    is_named = method and method in RequestMethod.values()
    what = f"a {RequestMethod.Name(method)} request" if is_named else "a request"
    # The route is the gateway's own name for a path; the path is the caller's.
    route = entry.common_properties.route_name
    where = f" on route {route}" if is_name(route) else ""
    return f"The gateway refused {what}{where} with status {status}."


def _note_failure(reason: str) -> None:
    EDGE_FAILURES.labels(reason).inc()
    log.warning("refusal without an alert", reason=reason)
