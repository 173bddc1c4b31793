"""The alert service as a process, called over real gRPC, killed, drained and out of disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.struct_pb2 import Value
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.alert.v1 import alert_service_pb2 as contract
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.verdict.v1.verdict_pb2 import Finding
from tests.integration.processes import ROOT, eventually, free_port

CANARY = "CANARY-7e2d"
DEADLINE = 10


class Service:
    """The process and a client of it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "error_reports"
        self.log = directory / "log"
        self.port = free_port()
        self.metrics = f"http://127.0.0.1:{free_port()}/metrics"
        self._environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}",
            "SLUICE_LISTEN": f"127.0.0.1:{self.port}",
            "SLUICE_METRICS_LISTEN": self.metrics.split("/")[2],
            "SLUICE_REPORTS_DIR": str(self.path),
            "SLUICE_DRAIN_SECONDS": "0.2",
            "SLUICE_MAX_REPORTS": "40",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 100),
            ],
        )
        self.stub = AlertServiceStub(self.channel)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "alert_service"],
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=ROOT,
            )
        eventually(self.serves)

    def stop(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def serves(self) -> bool:
        answer = health_pb2_grpc.HealthStub(self.channel).Check(
            health_pb2.HealthCheckRequest(service="sluice.alert.v1.AlertService"),
            timeout=2,
            wait_for_ready=True,
        )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def raise_alert(self, **fields: Any) -> contract.RaiseAlertResponse:
        request = RaiseAlertRequest(**({"event_type": "PII"} | fields))
        return self.stub.RaiseAlert(request, timeout=DEADLINE)

    def reports(self) -> list[str]:
        return sorted(each.name for each in self.path.glob("alert_*.txt"))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def refused(self, call: Callable[[], object]) -> tuple[grpc.StatusCode, str, list[str]]:
        """Return code, reason and fields of the error that `call` ends with."""
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        reason, fields = "", []
        for packed in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if packed.Unpack(info):
                reason = info.reason
            if packed.Unpack(bad):
                fields = [each.field for each in bad.field_violations]
        return error.code(), reason, fields


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    service.start()
    yield service
    service.channel.close()
    if service.process is not None and service.process.poll() is None:
        service.stop(signal.SIGKILL)
    # Whatever a test did, no log holds what was sent.
    assert CANARY not in service.log.read_text()


def test_concurrent_calls_with_one_id_make_one_report(service: Service) -> None:
    def call(number: int) -> contract.RaiseAlertResponse:
        return service.raise_alert(
            alert_id="alert-01",
            source=f"source-{CANARY}",
            payload=Value(string_value=f"{CANARY} {number}"),
            findings=[Finding(detector="us_ssn", path="/data", end=11)],
            http_request_id="4120b07c-6bcf-4344-aa64-2faea0eebb48",
        )

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(call, range(5)))
    assert len({(each.alert_id, each.report) for each in answers}) == 1
    assert service.reports() == [answers[0].report]
    path = service.path / answers[0].report
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    report = json.loads(path.read_text())
    assert report["payload"].startswith(CANARY)
    assert report["alert"]["http_request_id"] == "4120b07c-6bcf-4344-aa64-2faea0eebb48"
    (line,) = [line for line in service.lines() if line["event"] == "report written"]
    assert line["alert_id"] == "alert-01"
    assert line["event_type"] == "PII"
    assert line["report"] == answers[0].report
    assert line["findings"] == 1
    with urllib.request.urlopen(service.metrics) as answer:
        metrics = answer.read().decode()
    assert 'sluice_alerts_total{event_type="PII"} 1.0' in metrics
    assert "sluice_reports 1.0" in metrics


def test_a_killed_process_forgets_nothing(service: Service) -> None:
    first = service.raise_alert(alert_id="alert-01", payload=Value(string_value=CANARY))
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(service.raise_alert, alert_id=f"alert-{n:03}") for n in range(30)]
        eventually(lambda: len(service.reports()) > 3)
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        answered = {
            call.result().alert_id: call.result().report
            for call in calls
            if call.exception() is None
        }
    service.start()
    assert not list(service.path.glob("*.tmp"))
    for name in service.reports():
        assert json.loads((service.path / name).read_text())["alert"]["report"] == name
    for alert_id, report in answered.items():
        alert = service.stub.GetAlert(contract.GetAlertRequest(alert_id=alert_id)).alert
        assert alert.report == report
    again = [service.raise_alert(alert_id=f"alert-{n:03}") for n in range(30)]
    assert len({each.report for each in again}) == 30
    assert service.raise_alert(alert_id="alert-01") == first
    assert len(service.reports()) == 31


def test_alerts_are_read_back_without_their_payload(service: Service) -> None:
    for number in range(5):
        service.raise_alert(
            alert_id=f"alert-{number:02}",
            payload=Value(string_value=CANARY),
            request_id=f"request-{number}",
        )
    one = service.stub.GetAlert(contract.GetAlertRequest(alert_id="alert-03")).alert
    assert one.request_id == "request-3"
    assert one.raise_time.seconds > 0
    seen: list[contract.Alert] = []
    token = ""
    while not seen or token:
        page = service.stub.ListAlerts(
            contract.ListAlertsRequest(page_size=2, page_token=token), timeout=DEADLINE
        )
        seen += page.alerts
        token = page.next_page_token
    assert [each.alert_id for each in seen] == [f"alert-{n:02}" for n in (4, 3, 2, 1, 0)]
    assert one in seen
    assert CANARY not in str(seen)


def test_bad_calls_are_told_what_to_mend(service: Service) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    code, reason, fields = service.refused(
        lambda: service.raise_alert(alert_id=f"../{CANARY}", event_type=CANARY, source="a b")
    )
    assert (code, reason, fields) == (
        *(invalid, "INVALID_INPUT"),
        ["/alert_id", "/event_type", "/source"],
    )
    code, _, fields = service.refused(
        lambda: service.stub.ListAlerts(
            contract.ListAlertsRequest(page_size=501, page_token="../x"), timeout=DEADLINE
        )
    )
    assert (code, fields) == (invalid, ["/page_size", "/page_token"])
    for unknown in ("no-such-alert", "", "../../etc/passwd", "a\0bcdefgh"):
        code, reason, _ = service.refused(
            lambda: service.stub.GetAlert(
                contract.GetAlertRequest(alert_id=unknown),  # noqa: B023
                timeout=DEADLINE,
            )
        )
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "ALERT_UNKNOWN")
    assert service.reports() == []


def test_an_id_and_a_time_are_given_to_alerts_that_have_none(service: Service) -> None:
    metadata = (("x-request-id", "gateway-1"),)
    answer = service.stub.RaiseAlert(
        RaiseAlertRequest(event_type="BACKUP_FAILED"), timeout=DEADLINE, metadata=metadata
    )
    assert len(answer.alert_id) == 26
    alert = service.stub.GetAlert(contract.GetAlertRequest(alert_id=answer.alert_id)).alert
    assert abs(alert.raise_time.ToSeconds() - time.time()) < 60
    assert alert.http_request_id == "gateway-1"
    other = service.raise_alert(http_request_id=f"{CANARY} \x1b")
    assert not service.stub.GetAlert(
        contract.GetAlertRequest(alert_id=other.alert_id)
    ).alert.http_request_id


def test_a_full_directory_refuses_and_still_reads(service: Service) -> None:
    for number in range(40):
        service.raise_alert(alert_id=f"alert-{number:03}")
    code, reason, _ = service.refused(lambda: service.raise_alert(alert_id="one-too-many"))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REPORTS_FULL")
    assert service.raise_alert(alert_id="alert-000").report
    assert service.serves()
    assert len(service.stub.ListAlerts(contract.ListAlertsRequest()).alerts) == 40


def test_a_disk_that_takes_no_more_is_told_by_call_and_health(service: Service) -> None:
    """The system's own limit on file sizes stands for the disk; it strikes in the same place."""
    assert service.process is not None
    service.raise_alert(alert_id="alert-01")
    unlimited = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
    # Its log has to grow on.
    limit = service.log.stat().st_size + 100_000
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    large = Value(string_value=CANARY * 20_000)
    code, reason, _ = service.refused(
        lambda: service.raise_alert(alert_id="large-01", payload=large)
    )
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "REPORT_NOT_WRITTEN")
    assert len(service.reports()) == 1
    assert not list(service.path.glob("*.tmp"))
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert service.raise_alert(alert_id="large-01", payload=large).report in service.reports()

    hidden = service.path.with_name("hidden")
    service.path.rename(hidden)
    service.path.write_text("in the way")
    eventually(lambda: not service.serves())
    assert any(
        line.get("reason") == "no report can be written: ENOTDIR" for line in service.lines()
    )
    service.path.unlink()
    hidden.rename(service.path)
    eventually(service.serves)
    assert service.raise_alert(alert_id="alert-01").report
    assert len(service.reports()) == 2


def test_watchers_see_alerts_as_they_are_raised(service: Service) -> None:
    service.raise_alert(alert_id="before-01")
    watch = service.stub.WatchAlerts(contract.WatchAlertsRequest(), timeout=DEADLINE)
    watch.initial_metadata()
    service.raise_alert(alert_id="alert-01", payload=Value(string_value=CANARY))
    service.raise_alert(alert_id="alert-01")
    service.raise_alert(alert_id="alert-02")
    seen = [next(watch).alert for _ in range(2)]
    assert [each.alert_id for each in seen] == ["alert-01", "alert-02"]
    assert seen[0].report in service.reports()
    assert CANARY not in str(seen)


def refusal(number: int, status: int = 404) -> HTTPAccessLogEntry:
    entry = HTTPAccessLogEntry()
    entry.common_properties.start_time.GetCurrentTime()
    entry.common_properties.route_name = "unknown_path"
    entry.request.path = f"/{CANARY}?q={CANARY}"
    entry.request.request_id = f"4120b07c-6bcf-4344-aa64-{number:012}"
    entry.response.response_code.value = status
    entry.response.response_code_details = "direct_response"
    return entry


def message_of(*entries: HTTPAccessLogEntry) -> bytes:
    message = StreamAccessLogsMessage()
    message.http_logs.log_entry.extend(entries)
    return cast(bytes, message.SerializeToString())


def stream_logs(service: Service) -> Any:
    """Return the call that Envoy makes, sending bytes as they are."""
    return service.channel.stream_unary(
        "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
        response_deserializer=StreamAccessLogsResponse.FromString,
    )


def test_what_the_gateway_refuses_becomes_alerts(service: Service) -> None:
    no_time = refusal(3, 415)
    no_time.common_properties.start_time.nanos = -5
    messages = [
        message_of(refusal(1), refusal(2), refusal(1)),
        b"\xff\xff",
        message_of(no_time),
        message_of(),
        message_of(refusal(1), refusal(4, 413), refusal(5, 503)),
    ]
    assert stream_logs(service)(iter(messages), timeout=DEADLINE) == StreamAccessLogsResponse()
    page = service.stub.ListAlerts(contract.ListAlertsRequest(), timeout=DEADLINE)
    assert sorted((each.http_request_id[-1], each.violations[0].rule) for each in page.alerts) == [
        ("1", "UNKNOWN_PATH"),
        ("2", "UNKNOWN_PATH"),
        ("4", "BODY_TOO_LARGE"),
    ]
    for name in service.reports():
        assert CANARY not in (service.path / name).read_text()
    reasons = [line["reason"] for line in service.lines() if "without an alert" in line["event"]]
    assert reasons == ["UNDECODABLE", "BAD_ENTRY"]


def test_a_drain_loses_no_call_and_ends_streams(service: Service) -> None:
    """Stop the process while calls arrive: each is answered, or refused and not half done."""
    watch = service.stub.WatchAlerts(contract.WatchAlertsRequest(), timeout=DEADLINE)
    watch.initial_metadata()
    is_over = False

    def endless() -> Iterator[bytes]:
        yield message_of(refusal(1))
        while not is_over:
            time.sleep(0.02)

    logging = stream_logs(service).future(endless(), timeout=DEADLINE)
    eventually(lambda: len(service.reports()) == 1)
    assert service.process is not None

    def call(number: int) -> str:
        try:
            return service.raise_alert(alert_id=f"alert-{number:03}").report
        except grpc.RpcError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(30)]
        eventually(lambda: len(service.reports()) > 5)
        began = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        answered = {each for each in (call.result() for call in calls) if each}
    assert service.process.wait(20) == 0
    assert time.monotonic() - began < 5
    is_over = True
    assert answered <= set(service.reports())
    assert len(answered) > 5
    assert not list(service.path.glob("*.tmp"))
    assert logging.exception() is None
    with pytest.raises(grpc.RpcError) as caught:
        list(watch)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "Watch again" in error.details()
    assert service.lines()[-1]["event"] == "stopped"


def test_an_address_that_is_taken_ends_the_process(service: Service) -> None:
    assert service.process is not None
    first = service.process
    second = subprocess.run(
        [sys.executable, "-m", "alert_service"],
        env=service._environment | {"SLUICE_METRICS_LISTEN": "127.0.0.1:0"},
        cwd=ROOT,
        capture_output=True,
        timeout=20,
    )
    assert second.returncode != 0
    assert first.poll() is None
