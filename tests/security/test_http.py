"""Hostile HTTP: headers, framing, paths, and what a caller claims about itself."""

from __future__ import annotations

import json
import re
from urllib.request import urlopen

import grpc
import pytest

from tests.e2e.client import JSON, Client, eventually
from tests.security import wire
from tests.security.calls import call
from tests.security.wire import exchange, request

BODY = b'{"data":1}'
LENGTH = f"Content-Length: {len(BODY)}"
HOST = "Host: x"
JSON_TYPE = "Content-Type: application/json"


def post(client: Client, *headers: str, path: str = "/scan", body: bytes = BODY) -> wire.Exchange:
    fixed = (HOST, JSON_TYPE, f"Content-Length: {len(body)}")
    return exchange(
        client.mesh.gateway, request(f"POST {path} HTTP/1.1", *fixed, *headers, body=body)
    )


def require_error(answer: wire.Exchange, status: int) -> None:
    assert answer.status == status, answer.text
    assert set(json.loads(answer.body)) == {"code", "message", "details"}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (431, [f"x-a: {'b' * 20_000}"]),
        (431, [f"x-a{n}: b" for n in range(61)]),
        (400, ["a_b: c"]),
        (400, ["x-a: b\x01c"]),
        (400, ["x-a : b"]),
        (400, ["Transfer-Encoding: chunked"]),
        (400, ["Content-Length: 11"]),
        (403, ["Connection: Upgrade", "Upgrade: websocket"]),
    ],
)
def test_headers_that_no_honest_client_sends_are_refused(
    client: Client, status: int, headers: list[str]
) -> None:
    require_error(post(client, *headers), status)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, request("GET /status/x HTTP/1.1")),
        (501, request("POST /scan HTTP/1.1", HOST, "Transfer-Encoding: gzip, chunked")),
        (426, request("GET /status/x HTTP/1.0", HOST)),
        (400, request("GET /status/x y HTTP/1.1", HOST)),
        (400, request("GET /status/\0 HTTP/1.1", HOST)),
        (400, request("BREW /submit HTTP/1.1", HOST)),
        (400, request("POST /scan HTTP/1.1", HOST, JSON_TYPE, "Transfer-Encoding: chunked",
                      body=b"zz\r\n")),
        (404, request("OPTIONS * HTTP/1.1", HOST)),
        (400, b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_is_no_proper_http_is_refused(client: Client, status: int, text: bytes) -> None:
    require_error(exchange(client.mesh.gateway, text), status)


def test_headers_within_the_limit_pass_every_time(client: Client) -> None:
    # gRPC has a limit of its own behind the gateway's, near which it refuses at random.
    headers = [f"x-a{n}: {'b' * 340}" for n in range(44)]
    assert {post(client, *headers).status for _ in range(30)} == {200}


@pytest.mark.parametrize(
    "header",
    ["grpc-timeout: 1n", "grpc-timeout: never", "grpc-encoding: gzip", "grpc-encoding: secret",
     "grpc-accept-encoding: x", "grpc-status: 5", "grpc-message: no", "x-bin: !!", "te: gzip",
     "content-encoding: gzip", "x-http-method-override: GET", "accept: text/html",
     "x-envoy-original-path: /alert"],
)  # fmt: skip
def test_a_header_of_another_protocol_means_nothing_in_json(client: Client, header: str) -> None:
    answer = post(client, header)
    assert answer.status == 200
    assert json.loads(answer.body)["verdict"] == "VERDICT_ACCEPTED"


@pytest.mark.parametrize(
    "header",
    ["x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-upstream-rq-per-try-timeout-ms: 1",
     "x-envoy-expected-rq-timeout-ms: 1", "x-envoy-upstream-alt-stat-name: x",
     "x-envoy-force-trace: true", "x-envoy-internal: true", "x-envoy-decorator-operation: x"],
)  # fmt: skip
@pytest.mark.parametrize("claim", ["x-forwarded-for: 203.0.113.9", "x-forwarded-for: 127.0.0.1"])
def test_a_caller_cannot_steer_timeouts(client: Client, header: str, claim: str) -> None:
    slow_enough = json.dumps({"data": ["word " * 20] * 3000}).encode()
    assert post(client, header, claim, body=slow_enough).status == 200


def retries(client: Client) -> int:
    stats = f"http://127.0.0.1:{client.mesh.settings.admin_port}/stats?filter=upstream_rq_retry$"
    with urlopen(stats, timeout=10) as answer:
        return sum(int(line.rsplit(b" ", 1)[1]) for line in answer.read().splitlines())


def test_a_caller_cannot_steer_retries(client: Client) -> None:
    before = retries(client)
    body = b'{"data":"my ssn is 123-45-6789"}'
    for condition in ("5xx,retriable-4xx,retriable-status-codes,gateway-error", "reset"):
        answer = post(
            client,
            f"x-envoy-retry-on: {condition}",
            "x-envoy-retry-grpc-on: invalid-argument,internal",
            "x-envoy-retriable-status-codes: 400",
            "x-envoy-max-retries: 5",
            "x-forwarded-for: 127.0.0.1",
            path="/submit",
            body=body,
        )
        require_error(answer, 400)
    assert retries(client) == before


CLAIMED = "claimed-by-the-caller"


def alerts_about(client: Client, http_request_id: str) -> list[dict[str, str]]:
    listed = client.get("/alerts?page_size=500").json["alerts"]
    return [alert for alert in listed if alert["http_request_id"] == http_request_id]


def test_the_request_id_is_the_gateways(client: Client) -> None:
    headers = JSON | {"x-request-id": CLAIMED}
    answer = client.call("POST", "/submit", b'{"data":"ssn 123-45-6789"}', headers)
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]
    assert len(alerts_about(client, answer.headers["x-request-id"])) == 1
    assert alerts_about(client, CLAIMED) == []


@pytest.mark.parametrize(
    "text",
    [
        request("GET /status/x HTTP/1.1", f"x-request-id: {CLAIMED}"),
        request("GET /status/a%2fb HTTP/1.1", HOST, f"x-request-id: {CLAIMED}"),
        request("OPTIONS * HTTP/1.1", HOST, f"x-request-id: {CLAIMED}"),
    ],
)
def test_a_claimed_request_id_is_not_taken_where_the_gateway_has_none_yet(
    client: Client, text: bytes
) -> None:
    before = client.refused_at_edge()
    answer = exchange(client.mesh.gateway, text)
    assert CLAIMED.encode() not in answer.body
    eventually(lambda: client.refused_at_edge() > before or None)
    assert CLAIMED.encode() not in client.get("/alerts?page_size=500").body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/submit%2f", 400), ("/status/a%2fb", 400), ("/status/..%2f..%2fetc", 400),
        ("/status/a%5cb", 400), ("/%00", 400), ("/status/%00", 400), ("/alerts/a%00b", 400),
        ("/status/%ff", 400), ("/submit#x", 400),
        # Normalized first, then routed: a GET of /submit and of /scan.
        ("/alerts/../submit", 405), ("/./scan", 405), ("//scan", 405), ("/status/%2e%2e/scan", 405),
        ("/alerts/%2e%2e", 404), ("/../../etc/passwd", 404), ("/Submit", 404), ("/submit;x=1", 404),
        ("/submit/", 404), ("/status/a\\b", 404), ("/alerts/" + "a" * 300, 404),
    ],
)  # fmt: skip
def test_games_with_paths(client: Client, path: str, status: int) -> None:
    require_error(exchange(client.mesh.gateway, request(f"GET {path} HTTP/1.1", HOST)), status)


ADMIN = ["/config_dump", "/clusters", "/stats", "/stats/prometheus", "/quitquitquit", "/ready",
         "/logging", "/server_info", "/certs", "/memory", "/metrics", "/healthz"]  # fmt: skip


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_admin_and_metrics_are_not_behind_the_gateway(
    client: Client, path: str, method: str
) -> None:
    for address in (client.mesh.gateway, client.mesh.alert_door):
        answer = client.call(method, path, address=address)
        assert answer.status == 404
        assert answer.detail("ErrorInfo")["reason"] == "PATH_UNKNOWN"


@pytest.mark.parametrize(
    "path",
    ["/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
     "/grpc.health.v1.Health/Check", "/sluice.ingest.v1.IngestService/Submit",
     "/sluice.alert.v1.AlertService/RaiseAlert"],
)  # fmt: skip
def test_a_path_of_grpc_is_none_of_json(client: Client, path: str) -> None:
    for address in (client.mesh.gateway, client.mesh.alert_door):
        assert client.call("POST", path, b"{}", JSON, address=address).status == 404


@pytest.mark.parametrize(
    "method",
    ["/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
     "/grpc.channelz.v1.Channelz/GetServers", "/sluice.job.v1.Jobs/Read"],
)  # fmt: skip
def test_internal_services_are_not_behind_the_gateway(channel: grpc.Channel, method: str) -> None:
    assert call(channel, method, b"").code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_alert_door_leads_to_alerts_only(client: Client) -> None:
    with grpc.insecure_channel(client.mesh.alert_door) as door:
        for method in (wire.SUBMIT, "/grpc.health.v1.Health/Check"):
            assert call(door, method, b"").code() is grpc.StatusCode.UNIMPLEMENTED
    for path in ("/submit", "/scan", "/submit:batch"):
        answer = client.post(path, {"data": 1}, address=client.mesh.alert_door)
        assert answer.status == 404
