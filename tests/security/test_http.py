"""Hostile HTTP: headers, framing, paths, and what a caller claims about itself."""

from __future__ import annotations

import json
import re

import grpc
import pytest

from deploy.local import admin
from tests.kit.client import JSON, Client, marker
from tests.kit.waiting import eventually
from tests.security import wire
from tests.security.calls import call
from tests.security.wire import exchange, request

BODY = b'{"data":1}'
HOST = "Host: localhost"
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
    told = admin.get(client.mesh.admin_socket, "/stats?filter=upstream_rq_retry$", 10)
    return sum(int(line.rsplit(b" ", 1)[1]) for line in told.splitlines())


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
    eventually(lambda: client.refused_at_edge() > before)
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


def addresses(client: Client) -> list[str]:
    """Return where a web page could try."""
    return [
        client.mesh.gateway,
        client.mesh.alert_door,
        f"127.0.0.1:{client.mesh.settings.admin_port}",
    ]


CLOSE = "Connection: close"


@pytest.mark.parametrize("path", ["/ready", "/stats/prometheus"])
def test_the_admin_port_tells_how_the_gateway_is(client: Client, path: str) -> None:
    port = f"127.0.0.1:{client.mesh.settings.admin_port}"
    assert client.call("GET", path, address=port).status == 200
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert client.call(method, path, address=port).status == 404


@pytest.mark.parametrize(
    "path", [*(path for path in ADMIN if path not in {"/ready", "/stats/prometheus"}), "/",
             "/drain_listeners", "/ready/", "/READY", "/ready/../config_dump", "/%72eady/../stats",
             "/stats/prometheus/../clusters", "/stats/recentlookups", "/healthcheck/fail"]
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_of_the_admin_interface_has_a_port(
    client: Client, path: str, method: str
) -> None:
    port = f"127.0.0.1:{client.mesh.settings.admin_port}"
    require_error(exchange(port, request(f"{method} {path} HTTP/1.1", HOST, CLOSE)), 404)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8001", "localhost.evil.example", "evil.localhost", "x",
     "127.0.0.1.nip.io", "127.0.0.1.", "10.0.0.1", "localhost@evil", "[::2]", "api_gateway"],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused(client: Client, host: str) -> None:
    # As after DNS rebinding: the page's own name, the address of this machine.
    for address in addresses(client):
        for path in ("/ready", "/alerts", "/submit", "/nowhere"):
            answer = exchange(address, request(f"GET {path} HTTP/1.1", f"Host: {host}", CLOSE))
            require_error(answer, 421)
            assert b"HOST_UNKNOWN" in answer.body
        line = f"GET http://{host}/alerts HTTP/1.1"
        # That is no address that Envoy takes.
        wanted = 400 if "_" in host else 421
        require_error(exchange(address, request(line, HOST, CLOSE)), wanted)
    answer = post(client, f"Host: {host}")
    assert answer.status in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
@pytest.mark.parametrize("port", ["", ":80", ":8001", ":1"])
def test_our_own_names_have_any_port(client: Client, host: str, port: str) -> None:
    line = request("GET /alerts?page_size=1 HTTP/1.1", f"Host: {host}{port}")
    assert exchange(client.mesh.gateway, line).status == 200
    assert exchange(client.mesh.alert_door, line).status == 200


def test_grpc_of_another_name_is_refused(client: Client) -> None:
    for authority in ("evil.example", "evil.example:8001"):
        options = [("grpc.default_authority", authority)]
        with grpc.insecure_channel(client.mesh.gateway, options=options) as channel:
            assert call(channel, wire.SCAN, b"").code() is not grpc.StatusCode.OK
            ended = call(channel, "/grpc.health.v1.Health/Check", b"")
            assert ended.code() is not grpc.StatusCode.OK


FOREIGN = ["null", "http://evil.example", "https://localhost.evil.example", "http://localhost:x",
           "http://localhost, http://evil.example", "file://", "http://127.0.0.1.evil.example",
           "chrome-extension://localhost", "http://evil@localhost", "x"]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_origin_gets_nothing_done(client: Client, origin: str) -> None:
    mine = f"Origin: {origin}"
    note = marker()
    sent = json.dumps({"data": f"{note} 123-45-6789"}).encode()
    require_error(post(client, mine, path="/submit", body=sent), 403)
    frame = b"\0\0\0\0\0"
    for media_type in ("application/grpc-web", "application/grpc-web-text", "application/grpc"):
        headers = {"Content-Type": media_type, "Origin": origin}
        told = client.call("POST", wire.SUBMIT, frame, headers).headers
        assert told["grpc-status"] == "7"
    for address in addresses(client):
        for method, path in (("GET", "/alerts"), ("GET", "/ready"), ("OPTIONS", "/submit")):
            line = request(f"{method} {path} HTTP/1.1", HOST, mine, CLOSE)
            answer = exchange(address, line)
            require_error(answer, 403)
            assert b"ORIGIN_FOREIGN" in answer.body
            assert b"access-control-allow-origin" not in answer.text
    assert note not in json.dumps(client.get("/alerts?page_size=500").json)
    assert client.rows(f"payload =~ /{note}/") == []


@pytest.mark.parametrize(
    "origin", ["http://localhost", "http://localhost:3000", "https://127.0.0.1", "http://[::1]:80"]
)
def test_a_page_of_this_machine_may_call(client: Client, origin: str) -> None:
    answer = post(client, f"Origin: {origin}", "Sec-Fetch-Site: cross-site")
    assert answer.status == 200
    assert f"access-control-allow-origin: {origin}".encode() in answer.text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_an_image_of_another_page_gets_nothing_done(client: Client, site: str) -> None:
    # No Origin comes with it, and a query that is unknown would be put on record.
    page = [f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: no-cors", "Referer: https://evil.example/"]
    for address in addresses(client):
        for path in ("/alerts?x=1", "/alerts", "/submit?x=1", "/ready", "/nowhere"):
            line = request(f"GET {path} HTTP/1.1", HOST, CLOSE, *page)
            answer = exchange(address, line)
            require_error(answer, 403)
            assert b"ORIGIN_FOREIGN" in answer.body
    sent = request("POST /submit?x=1 HTTP/1.1", HOST, CLOSE, *page, "Content-Length: 0")
    require_error(exchange(client.mesh.gateway, sent), 403)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_whoever_types_the_address_gets_an_answer(client: Client, site: str) -> None:
    line = request("GET /alerts?page_size=1 HTTP/1.1", HOST, f"Sec-Fetch-Site: {site}")
    assert exchange(client.mesh.gateway, line).status == 200


RECORD_REFUSAL = "/sluice.edge.v1.EdgeService/RecordRefusal"
RAISE_ALERTS = "/sluice.alert.v1.AlertBatchService/RaiseAlerts"


@pytest.mark.parametrize(
    "path",
    [RECORD_REFUSAL, RECORD_REFUSAL.lower(), RECORD_REFUSAL.upper(), f"//x/..{RECORD_REFUSAL}",
     f"/.{RECORD_REFUSAL}", RECORD_REFUSAL.replace("Edge", "%45dge"), f"{RECORD_REFUSAL}?rule=X",
     f"http://localhost{RECORD_REFUSAL}", f"/sluice.ingest.v1.IngestService/..{RECORD_REFUSAL}",
     RAISE_ALERTS, f"/sluice.alert.v1.AlertService/..{RAISE_ALERTS}"],
)  # fmt: skip
def test_nobody_outside_calls_what_is_within_the_mesh(client: Client, path: str) -> None:
    forged = [f"x-envoy-original-path: {RECORD_REFUSAL}", "x-envoy-internal: true",
              "x-forwarded-for: 127.0.0.1", "x-refused-rule: BAD_QUERY", "x-refused-id: 12345678",
              "x-refused-client: 127.0.0.1"]  # fmt: skip
    for address in (client.mesh.gateway, client.mesh.alert_door):
        for line in (f"GET {path} HTTP/1.1", f"POST {path} HTTP/1.1"):
            for headers in ([], forged, [JSON_TYPE], ["Content-Type: text/plain"]):
                answer = exchange(address, request(line, HOST, "Content-Length: 0", *headers))
                require_error(answer, 404)
        for media_type in ("application/grpc-web", "application/grpc-web-text"):
            answer = exchange(
                address,
                request(f"POST {path} HTTP/1.1", HOST, f"Content-Type: {media_type}", *forged,
                        "Content-Length: 5", body=b"\0\0\0\0\0"),
            )  # fmt: skip
            # The alert door does not take gRPC-Web.
            assert answer.status == 404 or b"grpc-status: 12" in answer.text
        with grpc.insecure_channel(address) as channel:
            for method in (RECORD_REFUSAL, RECORD_REFUSAL.lower(), RAISE_ALERTS):
                assert call(channel, method, b"").code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_caller_cannot_claim_that_a_refusal_waited(client: Client) -> None:
    answer = post(client, "x-refused-rule: BAD_QUERY", "x-refused-id: 12345678", body=b"{")
    require_error(answer, 400)
    assert b"x-refused" not in answer.text
    assert b"12345678" not in answer.body
    passed = post(client, "x-refused-rule: BAD_QUERY", "x-refused-id: 12345678")
    assert passed.status == 200
    assert b"x-refused" not in passed.text


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


@pytest.mark.parametrize("method", ["/sluice.ingest.v1.IngestService/Nope", "/nope.Nope/Nope"])
@pytest.mark.parametrize("media_type", ["application/grpc", "application/grpc-web"])
def test_a_call_of_an_unknown_method_alerts(
    client: Client, channel: grpc.Channel, method: str, media_type: str
) -> None:
    def unknown() -> int:
        # Those of a minute are one alert, which counts them.
        listed = client.get("/alerts?event_type=INVALID_INPUT&page_size=500").json["alerts"]
        return sum(
            alert["count"]
            for alert in listed
            if [each["rule"] for each in alert["violations"]] == ["UNKNOWN_METHOD"]
        )

    before = unknown()
    if media_type == "application/grpc":
        assert call(channel, method, b"").code() is grpc.StatusCode.UNIMPLEMENTED
    else:
        client.call("POST", method, b"\0\0\0\0\0", {"Content-Type": media_type})
    eventually(lambda: unknown() > before)


def test_the_alert_door_leads_to_alerts_only(client: Client) -> None:
    with grpc.insecure_channel(client.mesh.alert_door) as door:
        for method in (wire.SUBMIT, "/grpc.health.v1.Health/Check"):
            assert call(door, method, b"").code() is grpc.StatusCode.UNIMPLEMENTED
    for path in ("/submit", "/scan", "/submit:batch"):
        answer = client.post(path, {"data": 1}, address=client.mesh.alert_door)
        assert answer.status == 404
