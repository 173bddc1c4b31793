from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import GET, POST
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from alert_service.edge_refusals import alert_of
from alert_service.validation import violations_of

REQUEST_ID = "4120b07c-6bcf-4344-aa64-2faea0eebb48"
CANARY = "jane@example.com"


def entry_of(
    status: int,
    details: str,
    request_id: str = REQUEST_ID,
    route: str = "submit",
    method: int = POST,
) -> HTTPAccessLogEntry:
    entry = HTTPAccessLogEntry()
    entry.common_properties.start_time.FromJsonString("2025-05-12T14:30:05.123456Z")
    entry.common_properties.route_name = route
    address = entry.common_properties.downstream_direct_remote_address.socket_address
    address.address = "192.0.2.7"
    # What a proxy in front, or the caller itself, says of where a call came from.
    entry.common_properties.downstream_remote_address.socket_address.address = "203.0.113.9"
    entry.request.request_method = method
    entry.request.request_id = request_id
    entry.request.path = f"/nowhere/{CANARY}?q={CANARY}"
    entry.request.original_path = f"/nowhere/{CANARY}"
    entry.request.user_agent = CANARY
    entry.request.referer = CANARY
    entry.request.authority = CANARY
    entry.response.response_code.value = status
    entry.response.response_code_details = details
    return entry


# Codes and details as Envoy 1.40 reports them for api_gateway/envoy.yaml.
@pytest.mark.parametrize(
    ("status", "details", "rule"),
    [
        (400, "grpc_json_transcode_failure{INVALID_ARGUMENT}", "MALFORMED_JSON"),
        (400, "early_grpc_json_transcode_failure{INVALID_ARGUMENT}", "BAD_QUERY"),
        (400, "path_normalization_failed", "BAD_PATH"),
        (403, "direct_response", "FOREIGN_ORIGIN"),
        (404, "direct_response", "UNKNOWN_PATH"),
        (404, "route_not_found", "UNKNOWN_PATH"),
        (405, "direct_response", "METHOD_NOT_ALLOWED"),
        (408, "request_header_timeout", "REQUEST_TIMEOUT"),
        (413, "request_payload_too_large", "BODY_TOO_LARGE"),
        (415, "direct_response", "UNSUPPORTED_MEDIA_TYPE"),
        (421, "direct_response", "UNKNOWN_HOST"),
        (431, "http1.too_many_headers", "HEADERS_TOO_LARGE"),
        (400, "http1.codec_error", "HTTP1_CODEC_ERROR"),
        (426, "low_version", "LOW_VERSION"),
        (400, "missing_host_header", "MISSING_HOST_HEADER"),
        (400, "", "REFUSED"),
        (400, "x" * 100, "X" * 64),
    ],
)
def test_a_refusal_becomes_an_alert_of_its_class(status: int, details: str, rule: str) -> None:
    alert = alert_of(entry_of(status, details))
    assert alert is not None
    assert violations_of(alert) == []
    assert alert.event_type == "INVALID_INPUT"
    (violation,) = alert.violations
    assert violation.rule == rule
    assert violation.description
    assert alert.http_request_id == REQUEST_ID
    assert alert.alert_id == f"edge-{REQUEST_ID}"
    assert alert.raise_time.ToJsonString() == "2025-05-12T14:30:05.123456Z"
    assert alert.message == (
        f"The gateway refused a POST request on route submit with status {status}."
    )
    assert (alert.client, alert.at_edge) == ("192.0.2.7", True)
    assert not alert.source
    assert not alert.HasField("payload")
    assert CANARY not in str(alert)


@pytest.mark.parametrize(
    ("status", "details"),
    [
        (400, "via_upstream"),
        (404, "via_upstream"),
        (200, "via_upstream"),
        (0, "downstream_remote_disconnect"),
        (503, "no_healthy_upstream"),
        (504, "response_timeout"),
        (429, "local_rate_limited"),
    ],
)
def test_what_is_no_refusal_of_the_gateway_is_passed_over(status: int, details: str) -> None:
    assert alert_of(entry_of(status, details)) is None


@pytest.mark.parametrize(
    ("status", "details"),
    [(200, "direct_response"), (200, "via_upstream"), (404, "direct_response")],
)
def test_a_call_of_an_unknown_method_is_told_by_its_grpc_status(status: int, details: str) -> None:
    entry = entry_of(status, details)
    entry.response.response_headers["grpc-status"] = "12"
    alert = alert_of(entry)
    assert alert is not None
    assert alert.violations[0].rule == "UNKNOWN_METHOD"
    assert violations_of(alert) == []
    entry.response.response_headers["grpc-status"] = "0"
    entry.response.response_code.value = 200
    assert alert_of(entry) is None


@pytest.mark.parametrize(
    ("route", "grpc_status", "rule"),
    [
        ("unknown_host", "2", "UNKNOWN_HOST"),
        ("foreign_origin", "7", "FOREIGN_ORIGIN"),
        ("foreign_page", "7", "FOREIGN_ORIGIN"),
        ("submit_not_json", "2", "UNSUPPORTED_MEDIA_TYPE"),
        ("not_json", "2", "UNSUPPORTED_MEDIA_TYPE"),
        ("door_not_json", "2", "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_a_grpc_call_that_a_route_refuses_is_told_by_the_route(
    route: str, grpc_status: str, rule: str
) -> None:
    entry = entry_of(200, "direct_response", route=route)
    entry.response.response_headers["grpc-status"] = grpc_status
    alert = alert_of(entry)
    assert alert is not None
    assert alert.violations[0].rule == rule


def test_what_fails_too_early_for_a_request_id_has_an_id_of_its_own() -> None:
    entry = entry_of(431, "http1.headers_too_large", request_id="", route="", method=0)
    alert, again = (
        alert_of(entry),
        alert_of(HTTPAccessLogEntry.FromString(entry.SerializeToString())),
    )
    assert alert == again
    assert alert is not None
    assert violations_of(alert) == []
    assert alert.message == "The gateway refused a request with status 431."
    assert not alert.http_request_id
    entry.common_properties.start_time.nanos += 1
    later = alert_of(entry)
    assert later is not None
    assert later.alert_id != alert.alert_id


def test_an_id_that_no_gateway_would_make_is_left_out() -> None:
    alert = alert_of(entry_of(404, "direct_response", request_id=f"../{CANARY} "))
    assert alert is not None
    assert violations_of(alert) == []
    assert CANARY not in str(alert)


def test_a_method_that_is_not_known_yet_is_no_matter() -> None:
    alert = alert_of(entry_of(404, "direct_response", method=999))
    assert alert is not None
    assert alert.message.startswith("The gateway refused a request")


def test_methods_are_named() -> None:
    alert = alert_of(entry_of(404, "direct_response", method=GET, route=f"a {CANARY}"))
    assert alert is not None
    assert alert.message == "The gateway refused a GET request with status 404."
