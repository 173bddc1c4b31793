"""Log records of OpenTelemetry, by the SDK's own exporters, down to the row in InfluxDB."""

from __future__ import annotations

import gzip
import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.kit import otel
from tests.kit.client import Answer, Client, marker
from tests.kit.waiting import eventually

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def request(*bodies: str, uid: str = "") -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    records = made.resource_logs.add().scope_logs.add().log_records
    for body in bodies:
        record = records.add(trace_id=b"t" * 16, span_id=b"s" * 8)
        record.body.string_value = body
        if uid:
            record.attributes.add(key="log.record.uid").value.string_value = uid
    return made


@pytest.fixture
def export(client: Client) -> Iterator[Any]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(client.mesh.gateway, options=options) as channel:
        call: Any = channel.unary_unary(EXPORT)

        def send(sent: bytes, **settings: Any) -> ExportLogsServiceResponse:
            return ExportLogsServiceResponse.FromString(call(sent, timeout=30, **settings))

        yield send


def post(client: Client, body: bytes, **headers: str) -> Answer:
    return client.call("POST", "/v1/logs", body, PROTOBUF | headers)


def rows(client: Client, text: str, count: int) -> list[dict[str, Any]]:
    """Return the rows whose payload holds a text, once there are so many."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = client.rows(f"payload =~ /{text}/")
        return len(found) >= count

    eventually(look, 30)
    assert len(found) == count
    return found


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("exporter", [otel.grpc_exporter, otel.http_exporter])
def test_what_the_sdk_logs_is_recorded(client: Client, exporter: Any, compressed: bool) -> None:
    text = marker()
    sent = otel.send(
        exporter(client.mesh.gateway, gzip=compressed),
        [f"{text} {number}" for number in range(20)],
        {"order.total": 12, "order.paid": True},
    )
    assert all(sent)
    found = rows(client, text, 20)
    assert {row["source"] for row in found} == {"shop"}
    payload = json.loads(found[0]["payload"])
    assert payload["attributes"] == {"order.total": 12, "order.paid": True}
    assert payload["resource"]["service.name"] == "shop"
    assert payload["scope"] == {"name": "shop.orders", "version": "2"}
    assert payload["time"] == "2026-09-21T14:13:20.000000001Z"
    assert (payload["severity_text"], payload["severity_number"]) == ("INFO", 9)


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_what_is_refused_is_told_and_the_rest_is_recorded(
    client: Client, export: Any, way: str
) -> None:
    text = marker()
    sent = request(f"{text} fine", f"{text} ssn 123-45-6789", f"{text} too").SerializeToString()
    if way == "grpc":
        answer = export(sent)
    else:
        reply = post(client, sent)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/x-protobuf")
        answer = ExportLogsServiceResponse.FromString(reply.body)
    told = answer.partial_success
    assert told.rejected_log_records == 1
    assert "1 of 3 records refused: " in told.error_message
    assert "us_ssn 1" in told.error_message
    # Of the refused one the text is masked.
    assert {row["verdict"] for row in rows(client, text, 2)} == {"accepted"}
    alert_id = told.error_message.rpartition(" ")[2].rstrip(".")
    (refused,) = client.rows(f"alert_id = '{alert_id}'")
    assert refused["verdict"] == "rejected"
    assert "123-45" not in refused["payload"]
    assert json.loads(refused["payload"])["trace_id"] == "74" * 16
    report = client.reports()[refused["alert_id"]].read_text()
    assert "123-45-6789" in report
    assert "73" * 8 in report


def test_a_record_with_an_id_is_recorded_once(client: Client, export: Any) -> None:
    text, uid = marker(), str(uuid.uuid4())
    # As a judgement may take a UUID for something, one is looked for that it takes for nothing.
    for _ in range(3):
        answer = export(request(f"{text} once", uid=uid).SerializeToString())
        assert answer == ExportLogsServiceResponse()
    answer = export(request(f"{text} other", uid=uid).SerializeToString())
    assert "REQUEST_ID_REUSED 1" in answer.partial_success.error_message
    (row,) = rows(client, text, 1)
    assert row["request_id"] == uid


def test_records_of_a_call_are_bounded(client: Client, export: Any) -> None:
    text = marker()
    answer = export(request(*[text] * 8192).SerializeToString())
    assert answer == ExportLogsServiceResponse()
    with pytest.raises(grpc.RpcError) as caught:
        export(request(*[text] * 8193).SerializeToString())
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    reply = post(client, gzip.compress(request(*[text] * 8193).SerializeToString()))
    assert reply.status == 400
    rows(client, text, 8192)


def test_what_is_too_large_is_refused_for_good(client: Client, export: Any) -> None:
    large = request("x" * 4 * 1024 * 1024).SerializeToString()
    for sent in (large, bytes(20_000_000)):
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.RpcError) as caught:
                export(sent, compression=compression)
            error: Any = caught.value
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "too large" in error.details()
    reply = post(client, large)
    assert reply.status == 413
    assert reply.detail("ErrorInfo")["metadata"]["alert_id"]
    assert post(client, gzip.compress(large)).status == 400


def test_the_sdk_does_not_repeat_what_is_refused_for_good(client: Client) -> None:
    by_grpc: Any = otel.grpc_exporter(client.mesh.gateway)
    by_http: Any = otel.http_exporter(client.mesh.gateway)
    # A call that is repeated waits first.
    waits: list[float] = []
    by_grpc._shutdown_in_progress.wait = by_http._client._shutdown_event.wait = waits.append
    for exporter in (by_grpc, by_http):
        assert otel.send(exporter, ["x" * 5_000_000]) == [False]
    assert waits == []


def test_other_calls_of_otlp_over_http(client: Client) -> None:
    assert (post(client, b"").status, post(client, b"").body) == (200, b"")
    assert post(client, b"\xff\xff").status == 400
    for kind in ("application/json", "text/plain", "application/x-protobuf; v=1"):
        answer = client.call("POST", "/v1/logs", b"{}", {"Content-Type": kind})
        assert answer.status == 415
        assert answer.detail("ErrorInfo")["metadata"]["alert_id"]
    assert client.get("/v1/logs").status == 405
    assert client.call("POST", "/v1/traces", b"", PROTOBUF).status == 404


def test_a_caller_may_say_that_it_takes_trailers(client: Client) -> None:
    # gRPC resets calls that say so twice, and then others on the connection, whoever makes them.
    for _ in range(6):
        assert post(client, request("a").SerializeToString(), TE="trailers").status == 200
    assert client.submit("fine").status == 200


def test_a_record_that_says_nothing_is_recorded(client: Client, export: Any) -> None:
    made = ExportLogsServiceRequest()
    made.resource_logs.add().scope_logs.add().log_records.append(LogRecord())
    assert export(made.SerializeToString()) == ExportLogsServiceResponse()


def test_over_http_2_the_caller_hears_what_to_use(client: Client) -> None:
    # The bridge passes on no message there, and gRPC's answer is that all is well.
    sent = request("a").SerializeToString()
    command = ["curl", "-s", "--http2-prior-knowledge", "--data-binary", "@-"]
    command += ["-H", "Content-Type: application/x-protobuf", "-w", "%{http_code}"]
    url = f"http://{client.mesh.gateway}/v1/logs"
    told = subprocess.run([*command, url], input=sent, capture_output=True, check=True).stdout
    assert b"Send OTLP over HTTP/1.1, or by gRPC." in told
    assert told.endswith(b"505")
