"""The alert service dies, hangs, cannot write its reports, or gets alerts that are a burden."""

from __future__ import annotations

import resource
import time
from typing import Any, cast

import grpc

from sluice.alert.v1 import alert_service_pb2
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.faults.load import SECRET, alert_id_of
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.kit.error_details import error_info
from tests.kit.processes import limit_files

ROWS: list[Row] = []

ALERT = alert_service_pb2.DESCRIPTOR.services_by_name["AlertService"].full_name


def kill_alert_service(scene: Scene) -> None:
    """Kill it again and again, to hit it between the steps of a report."""
    for _ in range(3):
        scene.lift()
        pid = scene.kill("alert_service")
        scene.until(
            lambda pid=pid: scene.supervisor.pid("alert_service") not in (0, pid),  # type: ignore[misc]
            "it was not started again",
        )
        scene.until(
            lambda: scene.is_serving(scene.mesh.settings.alert_grpc_port), "it does not serve"
        )
        scene.a_moment(0.0, 0.5)


ROWS.append(Row("alert-kill", "kill -9 of the alert service, three times", 10, kill_alert_service))


def stop_alert_service_for_long(scene: Scene) -> None:
    """Long enough for clients that wait ever longer between their attempts to show it."""
    scene.supervisor.stop_program("alert_service")
    time.sleep(scene.random.uniform(25, 30))
    scene.supervisor.start_program("alert_service")
    scene.lift()
    port = scene.mesh.settings.ingest_grpc_port
    scene.until(lambda: scene.is_serving(port, service=ALERT), "ingest does not see it", 10)


ROWS.append(
    Row(
        "alert-down-30s",
        "the alert service stopped for 25 to 30 s",
        10,
        stop_alert_service_for_long,
        in_tests=False,
    )
)


def hang_alert_service(scene: Scene) -> None:
    with scene.frozen("alert_service"):
        queued = scene.count("fail")
        scene.until(lambda: scene.count("fail") > queued + 5, "nothing was refused any more")
    scene.lift()


ROWS.append(
    Row("alert-hang", "SIGSTOP of the alert service", 10, hang_alert_service, in_tests=False)
)


def block_reports(scene: Scene) -> None:
    """A file stands where the directory of the reports was: even root can write nothing."""
    folder = scene.mesh.settings.reports_dir
    aside = folder.with_name("aside")
    port = scene.mesh.settings.alert_grpc_port
    folder.rename(aside)
    folder.write_text("")
    try:
        scene.until(lambda: not scene.is_serving(port), "the alert service serves all the same")
        refused = scene.count("fail")
        scene.until(lambda: scene.count("fail") > refused + 5, "nothing is refused any more")
    finally:
        folder.unlink()
        aside.rename(folder)
    scene.lift()


ROWS.append(Row("reports-blocked", "a file in place of the report directory", 10, block_reports))


def fill_reports(scene: Scene) -> None:
    """No byte more fits on the disk of the reports."""
    port = scene.mesh.settings.alert_grpc_port
    pid = scene.supervisor.pid("alert_service")
    limit_files(pid, 0)
    try:
        scene.until(lambda: not scene.is_serving(port), "the alert service serves all the same")
        refused = scene.count("fail")
        scene.until(lambda: scene.count("fail") > refused + 5, "nothing is refused any more")
    finally:
        limit_files(pid, resource.RLIM_INFINITY)
    scene.lift()


ROWS.append(Row("reports-full", "no room for reports", 10, fill_reports))


def raise_unwieldy_alerts(scene: Scene) -> None:
    """Refusals that make large or deep alerts, and ordinary ones behind them."""
    scene.supervisor.stop_program("alert_service")
    ids = [
        _alert_of(scene, data)
        for data in (
            # One long key, which every finding names.
            {"k" * 50_000: [SECRET] * 250},
            # As long a path as may be, and thousands of findings.
            {"k" * 1000: {"l" * 1000: {"m" * 1000: {"n" * 1000: [SECRET] * 5000}}}},
            [SECRET] * 9000,
            "x" * 1_000_000 + f" {SECRET}",
        )
    ]
    ids += [_alert_of_depth(scene, depth) for depth in (30, 31, 32, 33, 34, 36, 40, 45)]
    caller = scene.caller()
    for _ in range(10):
        caller.submit(caller.body(refused=True))
    caller.close()
    scene.expect(all(ids), f"{ids.count('')} refusals name no alert")
    scene.supervisor.start_program("alert_service")
    scene.lift()
    for alert_id in filter(None, ids):
        scene.until(
            lambda: scene.alert(alert_id),  # noqa: B023
            "an alert that was too large or too deep is not delivered",
            15,
        )
        scene.expect_report(alert_id)


ROWS.append(
    Row(
        "unwieldy-alerts",
        "alerts too large or too deep to deliver, raised without an alert service",
        15,
        raise_unwieldy_alerts,
    )
)


def _alert_of(scene: Scene, data: Any) -> str:
    """Submit what is refused and return the alert that the answer names."""
    caller = scene.caller()
    status, answer = caller.post("/submit", {"data": data})
    caller.close()
    scene.expect(status == 400, f"an odd refusal got {status}")
    return alert_id_of(answer)


def _alert_of_depth(scene: Scene, depth: int) -> str:
    request = SubmitRequest()
    value = request.data
    for _ in range(depth - 1):
        value = value.list_value.values.add()
    value.string_value = f"my ssn is {SECRET}"
    with grpc.insecure_channel(scene.mesh.gateway) as channel:
        try:
            IngestServiceStub(channel).Submit(request, timeout=15)
        except grpc.RpcError as error:
            call = cast(grpc.Call, error)
            scene.expect(
                call.code() is grpc.StatusCode.INVALID_ARGUMENT, f"{depth} levels: {call.code()}"
            )
            return str(error_info(call).metadata["alert_id"])
    scene.expect(False, f"{depth} levels were accepted")
    return ""
