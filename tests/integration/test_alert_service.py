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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from alert_service.batch_servicer import MAX_ALERTS
from sluice.alert.v1 import alert_service_pb2 as contract
from sluice.alert.v1.alert_batch_service_pb2 import RaiseAlertsRequest
from sluice.alert.v1.alert_batch_service_pb2_grpc import AlertBatchServiceStub
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.verdict.v1.verdict_pb2 import Finding, Violation
from tests.kit.alert_service import CANARY, DEADLINE, Service
from tests.kit.processes import ROOT, limit_files
from tests.kit.waiting import eventually


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service; a test may give it settings by an indirect parameter."""
    service = Service(tmp_path, **getattr(request, "param", {}))
    service.start()
    yield service
    service.close()
    # Whatever a test did, no log holds what was sent.
    assert CANARY not in service.log.read_text()


def with_settings(**environment: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", [environment], indirect=True, ids=[""])


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
    assert 'sluice_reports{store="alerts"} 1.0' in metrics
    assert 'sluice_alert_reports_share{store="alerts"} 0.025' in metrics


def test_a_killed_process_forgets_nothing(service: Service) -> None:
    first = service.raise_alert(alert_id="alert-01", payload=Value(string_value=CANARY))
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(service.raise_alert, alert_id=f"alert-{n:03}") for n in range(30)]
        eventually(lambda: len(service.reports()) > 3)
        assert service.process.stop(signal.SIGKILL) == -signal.SIGKILL
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


@with_settings(SLUICE_MAX_REPORTS="1000")
def test_a_call_raises_no_more_alerts_than_it_may(service: Service) -> None:
    raise_alerts = AlertBatchServiceStub(service.channel).RaiseAlerts
    for count in (MAX_ALERTS + 1, 200_000):
        code, reason, fields = service.refused(
            lambda: raise_alerts(
                RaiseAlertsRequest(alerts=[RaiseAlertRequest()] * count),  # noqa: B023
                timeout=DEADLINE,
            )
        )
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
        assert fields == ["/alerts"]
    assert service.reports() == []
    alerts = [RaiseAlertRequest(event_type="PII") for _ in range(MAX_ALERTS)]
    answer = raise_alerts(RaiseAlertsRequest(alerts=alerts), timeout=DEADLINE)
    kept = {each.receipt.report for each in answer.results if each.HasField("receipt")}
    assert sorted(kept) == service.reports()
    assert len(kept) == MAX_ALERTS


def test_an_id_and_a_time_are_given_to_alerts_that_have_none(service: Service) -> None:
    metadata = (("x-request-id", "gateway-1"),)
    answer = service.stub.RaiseAlert(
        RaiseAlertRequest(event_type="BACKUP_FAILED"), timeout=DEADLINE, metadata=metadata
    )
    assert len(answer.alert_id) == 26
    assert answer.alert_id != "gateway-1"
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
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "REPORTS_FULL")
    assert service.raise_alert(alert_id="alert-000").report
    assert service.serves()
    assert len(service.stub.ListAlerts(contract.ListAlertsRequest()).alerts) == 40


def test_little_room_is_told_before_there_is_none(service: Service) -> None:
    for number in range(31):
        service.raise_alert(alert_id=f"alert-{number:03}")
    eventually(lambda: service.serves("reports_room"))
    service.raise_alert(alert_id="alert-031")
    eventually(lambda: not service.serves("reports_room"))
    assert service.serves()
    with urllib.request.urlopen(service.metrics) as answer:
        assert 'sluice_alert_reports_share{store="alerts"} 0.8' in answer.read().decode()
    (alarm,) = [line for line in service.lines() if line["event"] == "little room for reports"]
    assert alarm["level"] == "error"


@with_settings(SLUICE_REPORT_DAYS="30", SLUICE_MAX_REPORTS="1000")
def test_old_reports_are_removed_at_the_start(service: Service) -> None:
    old = Timestamp(seconds=int(time.time()) - 31 * 86400)
    for number in range(250):
        service.raise_alert(alert_id=f"old-alert-{number}")
    # What happened long ago and comes now is new.
    new = service.raise_alert(alert_id="new-alert-1", raise_time=old)
    assert service.process.stop(signal.SIGTERM) == 0
    for name in set(service.reports()) - {new.report}:
        os.utime(service.path / name, (old.seconds, old.seconds))
    (service.path / ".index.sqlite").unlink()
    service.start()

    def swept() -> list[int]:
        return [line["reports"] for line in service.lines() if line["event"] == "reports swept"]

    eventually(lambda: sum(swept()) == 250)
    assert max(swept()) <= 100
    assert service.reports() == [new.report]


def from_outside(service: Service, **fields: Any) -> contract.RaiseAlertResponse:
    """Raise an alert as the gateway passes it on."""
    return service.stub.RaiseAlert(
        RaiseAlertRequest(**({"event_type": "DRILL"} | fields)),
        timeout=DEADLINE,
        metadata=(("x-request-id", "4120b07c-6bcf-4344-aa64-2faea0eebb48"),),
    )


def test_an_id_from_outside_only_makes_repeats_harmless(service: Service) -> None:
    first = from_outside(service, alert_id="backup-01", source="ops")
    assert first.alert_id != "backup-01"
    for _ in range(2):
        assert from_outside(service, alert_id="backup-01", source="ops") == first
        assert service.process.stop(signal.SIGKILL) == -signal.SIGKILL
        service.start()
    other = from_outside(service, alert_id="backup-01", source="stranger")
    inside = service.raise_alert(alert_id="backup-01")
    # Who sends the id of another's alert gets one of his own.
    taken = from_outside(service, alert_id=inside.alert_id)
    again = from_outside(service, alert_id=first.alert_id, source="ops")
    answers = [first, other, inside, taken, again]
    assert len({each.alert_id for each in answers}) == len({each.report for each in answers}) == 5
    for answer in answers:
        alert = service.stub.GetAlert(contract.GetAlertRequest(alert_id=answer.alert_id)).alert
        assert alert.report == answer.report


def test_odd_alerts_from_outside_break_no_list(service: Service) -> None:
    watch = service.stub.WatchAlerts(contract.WatchAlertsRequest(), timeout=DEADLINE)
    watch.initial_metadata()
    odd: list[dict[str, Any]] = [
        {"raise_time": Timestamp(seconds=253_370_764_799)},
        {"raise_time": Timestamp(seconds=-62_135_596_800)},
        {"findings": [Finding(detector="x" * 100, path="/" + "y" * 200)] * 12_000},
        {"violations": [Violation(path="y" * 3_900_000)]},
        {"message": "\0\x1b[2J\u202e\U0001f4a9"},
        {"client": "x", "at_edge": True, "cut": True, "finding_count": 2**32 - 1},
        {"payload": Value(string_value="z" * 3_900_000)},
    ]
    raised = [from_outside(service, **fields).alert_id for fields in odd]
    raised.append(service.raise_alert().alert_id)
    for size in (1, 500):
        seen: list[contract.Alert] = []
        token = ""
        while not seen or token:
            page = service.stub.ListAlerts(
                contract.ListAlertsRequest(page_size=size, page_token=token), timeout=DEADLINE
            )
            seen += page.alerts
            token = page.next_page_token
        assert [each.alert_id for each in seen] == raised[::-1]
    assert [next(watch).alert.alert_id for _ in raised] == raised
    for alert in seen:
        assert abs(alert.raise_time.seconds - time.time()) < 60
        assert service.stub.GetAlert(contract.GetAlertRequest(alert_id=alert.alert_id)).alert
    by_id = {each.alert_id: each for each in seen}
    assert (by_id[raised[2]].cut, by_id[raised[2]].finding_count) == (True, 12_000)
    assert (by_id[raised[3]].cut, by_id[raised[3]].violation_count) == (True, 1)
    assert (by_id[raised[5]].cut, by_id[raised[5]].finding_count) == (False, 0)


def test_alerts_are_listed_by_what_they_are(service: Service) -> None:
    for number in range(4):
        service.raise_alert(
            alert_id=f"alert-{number:02}",
            event_type=("PII", "DRILL")[number % 2],
            source=("web", "batch")[number // 2],
            findings=[Finding(detector=("us_ssn", "email")[number % 2])],
            raise_time=Timestamp(seconds=int(time.time()) - 100 + number),
        )

    def listed(**fields: Any) -> list[str]:
        page = service.stub.ListAlerts(contract.ListAlertsRequest(**fields), timeout=DEADLINE)
        return [each.alert_id[-1] for each in page.alerts]

    assert listed(event_type="PII") == ["2", "0"]
    assert listed(detector="email", source="batch") == ["3"]
    between = Timestamp(seconds=int(time.time()) - 90)
    assert listed(start_time=between) == []
    assert listed(end_time=between) == ["3", "2", "1", "0"]
    code, reason, fields = service.refused(
        lambda: listed(event_type="x", detector="a b", source="*", start_time=Timestamp(nanos=-1))
    )
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert fields == ["/event_type", "/detector", "/source", "/start_time"]


def at_edge(service: Service, number: int, client: str = "192.0.2.7") -> Any:
    return service.stub.RaiseAlert.future(
        RaiseAlertRequest(
            alert_id=f"edge-{number:06}",
            http_request_id=f"{number:06}",
            event_type="INVALID_INPUT",
            violations=[Violation(rule="MALFORMED_JSON")],
            client=client,
            at_edge=True,
        ),
        timeout=DEADLINE,
    )


def test_noise_drowns_no_alert(service: Service) -> None:
    """Refusals of the gateway, by its log and by ingest, all the time that alerts are raised."""
    logged = told = 0
    is_over = False

    def log() -> Iterator[bytes]:
        nonlocal logged
        while not is_over:
            yield message_of(*[refusal(logged + number) for number in range(200)])
            logged += 200

    def tell() -> set[str]:
        nonlocal told
        reports = set()
        while not is_over:
            calls = [at_edge(service, told + n, f"2001:db8::{told + n:x}") for n in range(50)]
            reports |= {call.result().report for call in calls}
            told += 50
        return reports

    logging = stream_logs(service).future(log(), timeout=60)
    with ThreadPoolExecutor(1) as pool:
        telling = pool.submit(tell)
        eventually(lambda: logged and told)
        before = logged, told
        alerts = [service.raise_alert(alert_id=f"alert-{number:03}") for number in range(30)]
        eventually(lambda: logged > before[0] and told > before[1])
        is_over = True
    assert logging.result() == StreamAccessLogsResponse()
    assert service.reports() == sorted(each.report for each in alerts)
    # Two rules, in one minute or two.
    assert len(telling.result()) <= 2
    assert telling.result() <= {f"edge/{name}" for name in service.reports("edge")}
    assert len(service.reports("edge")) <= 4
    eventually(lambda: count_of(service, "MALFORMED_JSON") == told)
    eventually(lambda: count_of(service, "UNKNOWN_PATH") == logged)
    for report in telling.result():
        alert = json.loads((service.path / report).read_text())["alert"]
        assert alert["client"] == "2001:db8::/64"
        assert alert["last_time"] > alert["raise_time"]


def test_a_count_survives_a_stop_whole_and_a_kill_but_for_the_last_second(
    service: Service,
) -> None:
    for each in [at_edge(service, number) for number in range(100)]:
        each.result()
    assert service.process.stop(signal.SIGTERM) == 0
    service.start()
    assert count_of(service, "MALFORMED_JSON") == 100
    for each in [at_edge(service, number) for number in range(100, 150)]:
        each.result()
    eventually(lambda: count_of(service, "MALFORMED_JSON") == 150)
    at_edge(service, 150).result()
    assert service.process.stop(signal.SIGKILL) == -signal.SIGKILL
    service.start()
    assert 150 <= count_of(service, "MALFORMED_JSON") <= 151
    # A fold goes on in the report that it has.
    before = len(service.reports("edge"))
    assert at_edge(service, 100).result().report.startswith("edge/")
    assert len(service.reports("edge")) == before
    assert not list((service.path / "edge").glob(".*.tmp"))


def test_a_disk_that_takes_no_more_is_told_by_call_and_health(service: Service) -> None:
    """The system's own limit on file sizes stands for the disk; it strikes in the same place."""
    service.raise_alert(alert_id="alert-01")
    # Its log has to grow on.
    limit_files(service.process.pid, service.log.stat().st_size + 100_000)
    large = Value(string_value=CANARY * 20_000)
    code, reason, _ = service.refused(
        lambda: service.raise_alert(alert_id="large-01", payload=large)
    )
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "REPORT_NOT_WRITTEN")
    assert len(service.reports()) == 1
    assert not list(service.path.glob("*.tmp"))
    limit_files(service.process.pid, resource.RLIM_INFINITY)
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


@with_settings(SLUICE_MAX_REPORTS="10000")
def test_an_eager_watcher_keeps_up_with_bursts(service: Service) -> None:
    watch = service.stub.WatchAlerts(contract.WatchAlertsRequest(), timeout=60)
    watch.initial_metadata()
    raise_alerts = AlertBatchServiceStub(service.channel).RaiseAlerts
    burst = RaiseAlertsRequest(alerts=[RaiseAlertRequest(event_type="PII")] * MAX_ALERTS)
    with ThreadPoolExecutor(31) as pool:
        seen = pool.submit(lambda: {next(watch).alert.alert_id for _ in range(3000)})
        bursts = [pool.submit(raise_alerts, burst, timeout=60) for _ in range(30)]
        raised = {each.receipt.alert_id for answer in bursts for each in answer.result().results}
        assert seen.result() == raised


@with_settings(SLUICE_MAX_REPORTS="1000")
def test_a_watcher_that_does_not_read_is_cut_off_and_holds_up_nobody(service: Service) -> None:
    watch = service.stub.WatchAlerts(contract.WatchAlertsRequest(), timeout=60)
    watch.initial_metadata()
    large = [Finding(detector="us_ssn", path="/data/" + "x" * 1000)] * 240
    # More than what is kept and what is on its way.
    raised = [service.raise_alert(findings=large).alert_id for _ in range(100)]
    seen: list[str] = []

    def read_on() -> None:
        seen.extend(response.alert.alert_id for response in watch)

    assert service.refused(read_on)[:2] == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "WATCHER_TOO_SLOW",
    )
    assert seen == raised[: len(seen)]


def refusal(number: int, status: int = 404) -> HTTPAccessLogEntry:
    entry = HTTPAccessLogEntry()
    entry.common_properties.start_time.GetCurrentTime()
    entry.common_properties.route_name = "unknown_path"
    entry.request.path = f"/{CANARY}?q={CANARY}"
    entry.request.request_id = f"4120b07c-6bcf-4344-aa64-{number:012}"
    entry.response.response_code.value = status
    entry.response.response_code_details = "direct_response"
    return entry


def count_of(service: Service, rule: str) -> int:
    """Return how many alerts are counted of a rule, over all reports."""
    page = service.stub.ListAlerts(contract.ListAlertsRequest(page_size=500), timeout=DEADLINE)
    return sum(
        each.count for each in page.alerts if rule in {broken.rule for broken in each.violations}
    )


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
        ("4", "BODY_TOO_LARGE"),
    ]
    # The first one told is repeated twice, the second one is counted with it.
    counts = {each.violations[0].rule: each.count for each in page.alerts}
    assert counts["BODY_TOO_LARGE"] == 1
    eventually(lambda: count_of(service, "UNKNOWN_PATH") == 2)
    assert service.reports() == []
    for name in service.reports("edge"):
        assert CANARY not in (service.path / "edge" / name).read_text()
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
    eventually(lambda: len(service.reports("edge")) == 1)

    def call(number: int) -> str:
        try:
            return service.raise_alert(alert_id=f"alert-{number:03}").report
        except grpc.RpcError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(30)]
        eventually(lambda: len(service.reports()) > 5)
        began = time.monotonic()
        service.process.send(signal.SIGTERM)
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
    second = subprocess.run(
        [sys.executable, "-m", "alert_service"],
        env=service.process.environment | {"SLUICE_METRICS_LISTEN": "127.0.0.1:0"},
        cwd=ROOT,
        capture_output=True,
        timeout=20,
    )
    assert second.returncode != 0
    assert service.process.is_running
