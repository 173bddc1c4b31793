"""What an entry of the gateway's access log means: the rule that a refused request broke. Pure.

An entry holds what the caller sent, such as a path and a query; none of that goes into the alert.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import grpc
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from alert_service.validation import is_alert_id, is_name
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.verdict.v1.verdict_pb2 import Violation

_UPSTREAM_ANSWER = "via_upstream"
_ROUTE_ANSWER = "direct_response"
# Says nothing about the request, and an alert for each would add to the load.
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
    415: Rule(
        "UNSUPPORTED_MEDIA_TYPE",
        "The path does not take this kind of content. Send application/json, to /v1/logs "
        "application/x-protobuf.",
    ),
    421: Rule("UNKNOWN_HOST", "The gateway does not go by this host name. Call it as localhost."),
    431: Rule("HEADERS_TOO_LARGE", "The headers are too large. Send fewer or shorter ones."),
}
# These routes refuse gRPC calls too, and the answer to those has another status.
_BY_ROUTE = {
    "foreign_origin": _BY_STATUS[403],
    "foreign_page": _BY_STATUS[403],
    "unknown_host": _BY_STATUS[421],
    "submit_not_json": _BY_STATUS[415],
    "not_json": _BY_STATUS[415],
    "otlp_not_protobuf": _BY_STATUS[415],
    "door_not_json": _BY_STATUS[415],
}
_UNKNOWN_METHOD = Rule("UNKNOWN_METHOD", "There is no such method. Call one that reflection tells.")
RULE_NAMES = {rule.name for rule in (*_BY_DETAILS.values(), *_BY_STATUS.values(), _UNKNOWN_METHOD)}


def alert_of(entry: HTTPAccessLogEntry) -> RaiseAlertRequest | None:
    """Return the alert about a request, or None when the gateway did not refuse it for its form.

    The same entry gives the same `alert_id`, so that it is counted once. Of what the caller sent,
    the alert names only the method.
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
        # The gateway has no route for it, or the service no such method.
        return _UNKNOWN_METHOD
    status = entry.response.response_code.value
    details = entry.response.response_code_details.partition("{")[0]
    if details == _ROUTE_ANSWER and entry.common_properties.route_name in _BY_ROUTE:
        return _BY_ROUTE[entry.common_properties.route_name]
    if not 400 <= status < 500 or status == _TOO_MANY_REQUESTS or details == _UPSTREAM_ANSWER:
        return None
    return _BY_DETAILS.get(details) or _BY_STATUS.get(status) or _other(details)


def _other(details: str) -> Rule:
    word = _NOT_A_WORD.sub("_", details.upper()).strip("_")[:64]
    return Rule(word or "REFUSED", "The gateway refused the request before any service saw it.")


def _request_id(entry: HTTPAccessLogEntry) -> str:
    """Return the gateway's request id, empty when the request failed before it had one.

    Until it has a route, the entry holds what the caller sent as its id.
    """
    return entry.request.request_id if entry.common_properties.route_name else ""


def _alert_id(entry: HTTPAccessLogEntry, request_id: str) -> str:
    """Return an id made from the gateway's request id or, without one, from the entry."""
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
