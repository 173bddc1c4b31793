"""Clients that take their time, each a function that returns once the gateway has had enough."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from deploy.local.mesh import LocalMesh
from sluice.alert.v1 import alert_service_pb2 as alerts
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from tests.security.wire import Exchange, exchange, request

BEYOND_EVERY_LIMIT_SECONDS = 25.0

JSON = "Content-Type: application/json"


def _sends_no_end_of_headers(mesh: LocalMesh) -> Exchange:
    return exchange(mesh.gateway, b"GET /status/x HTTP/1.1\r\nHost: localhost\r\n")


def _sends_half_a_body(path: str, *headers: str) -> Callable[[LocalMesh], Exchange]:
    data = request(
        f"POST {path} HTTP/1.1", "Host: localhost", "Content-Length: 500", *headers, body=b"{"
    )
    return lambda mesh: exchange(mesh.gateway, data)


def _sends_half_an_alert(mesh: LocalMesh) -> Exchange:
    data = request(
        "POST /alert HTTP/1.1", "Host: localhost", "Content-Length: 500", JSON, body=b"{"
    )
    return exchange(mesh.alert_door, data)


def _watches_for_long(mesh: LocalMesh) -> Exchange:
    """Watch alerts for longer than any other call may take, then see one."""
    begun = time.monotonic()
    with grpc.insecure_channel(mesh.gateway) as channel:
        stub = AlertServiceStub(channel)
        watch = stub.WatchAlerts(alerts.WatchAlertsRequest(), timeout=60)
        watch.initial_metadata()
        # Nothing to wait for: that nothing happens is what is to be seen.
        time.sleep(BEYOND_EVERY_LIMIT_SECONDS)
        stub.RaiseAlert(alerts.RaiseAlertRequest(event_type="LONG_WATCHED"), timeout=10)
        seen = next(each for each in watch if each.alert.event_type == "LONG_WATCHED")
        watch.cancel()
    return Exchange(200, seen.alert.event_type.encode(), time.monotonic() - begun)


CLIENTS: dict[str, Callable[[LocalMesh], Exchange]] = {
    "headers": _sends_no_end_of_headers,
    "body": _sends_half_a_body("/submit", JSON),
    "batch": _sends_half_a_body("/submit:batch", JSON),
    "gRPC body": _sends_half_a_body(
        "/sluice.ingest.v1.IngestService/Submit", "Content-Type: application/grpc", "TE: trailers"
    ),
    "alert door": _sends_half_an_alert,
    "unknown path": _sends_half_a_body("/nowhere", JSON),
    "not JSON": _sends_half_a_body("/submit", "Content-Type: text/plain"),
    "watch": _watches_for_long,
}
