"""Callers repeat themselves, go away, or send much at once."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, cast

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2

from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.faults.checker import reported
from tests.faults.load import Caller
from tests.faults.marks import COMMIT
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import ONE_OF_EACH
from tests.kit.error_details import detail_of
from tests.kit.threads import at_once

ROWS: list[Row] = []


def repeat_at_once(scene: Scene) -> None:
    """Five callers with one request_id get one receipt; one with another body gets 409."""
    callers = [scene.caller() for _ in range(5)]
    for number in range(8):
        body = callers[0].body(refused=number % 2 == 1, repeatable=True)
        answers = at_once(5, lambda n, body=body: callers[n].insist(body))  # type: ignore[misc]
        scene.expect(len(set(answers)) == 1, f"one request_id got {len(set(answers))} answers")
        if number % 2 == 0:
            other = {"data": {"key": "another body"}, "request_id": body["request_id"]}
            status, _ = callers[0].post("/submit", other)
            scene.expect(status == 409, f"another body got {status}")
    for caller in callers:
        caller.close()
    scene.lift()


ROWS.append(Row("repeats", "one request_id five times at once", 5, repeat_at_once, rate=40))


def submit_in_one_moment(scene: Scene) -> None:
    """A thousand submissions in one call: one series, and for a coarse clock one time."""
    caller = scene.caller()
    caller.submit_batch([caller.body(repeatable=n % 2 == 0) for n in range(1000)])
    caller.close()
    scene.lift()


ROWS.append(
    Row("one-moment", "a thousand submissions in one call", 5, submit_in_one_moment, rate=40)
)


def go_away(scene: Scene) -> None:
    """Callers hang up, or have a deadline, after 5 to 500 ms, while Redis is slow to confirm."""
    scene.redis_proxy.delays = (COMMIT[1], 0.1)
    caller = scene.caller()
    channel = grpc.insecure_channel(scene.mesh.gateway)
    stub = IngestServiceStub(channel)
    bodies = []
    for milliseconds in (5, 20, 40, 70, 90, 100, 105, 110, 120, 150, 200, 300, 500):
        for refused in (False, True):
            for call in (_hang_up, _give_up):
                body = caller.body(refused=refused, repeatable=scene.random.random() < 0.5)
                bodies.append(body)
                seconds = milliseconds / 1000 * scene.random.uniform(0.9, 1.1)
                call(scene, caller, stub, body, seconds)
    scene.redis_proxy.forgive()
    for body in bodies:
        if "request_id" in body:
            scene.expect(bool(caller.insist(body).receipt), "a repeated call got no receipt")
    channel.close()
    caller.close()
    scene.lift()


def no_half_state(scene: Scene, _verdict: dict[str, Any]) -> None:
    """Nobody died, so whatever has a report must be on record, and the other way round."""
    rows = {
        str(data.get("key"))
        for row in scene.rows()
        if row["verdict"] == "rejected" and isinstance(data := json.loads(row["payload"]), dict)
    }
    reports = set(reported(scene.mesh.settings.reports_dir))
    half = [key for key in rows ^ reports if key.startswith(scene.prefix)]
    scene.expect(not half, f"{len(half)} refusals have a report or a row and not both")


ROWS.append(
    Row(
        "callers-go-away",
        "callers hang up or have deadlines, 5 to 500 ms",
        5,
        go_away,
        kind=ONE_OF_EACH,
        rate=5,
        clean=no_half_state,
    )
)


def _hang_up(
    scene: Scene, caller: Caller, _stub: IngestServiceStub, body: dict[str, Any], seconds: float
) -> None:
    """Send a request and hang up."""
    host, port = scene.mesh.gateway.split(":")
    content = json.dumps(body).encode()
    head = (
        f"POST /submit HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    caller.invoke(body)
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(head.encode() + content)
        time.sleep(seconds)
    caller.note(body, 0, {})


def _give_up(
    _scene: Scene, caller: Caller, stub: IngestServiceStub, body: dict[str, Any], seconds: float
) -> None:
    """Make a gRPC call with a deadline."""
    request = json_format.ParseDict(body, SubmitRequest())
    caller.invoke(body)
    try:
        caller.note(body, 200, {"task_id": stub.Submit(request, timeout=seconds).task_id})
    except grpc.RpcError as error:
        call = cast(grpc.Call, error)
        refused = call.code() is grpc.StatusCode.INVALID_ARGUMENT
        info = detail_of(call, error_details_pb2.ErrorInfo)
        details = [{"@type": ".ErrorInfo", "metadata": dict(info.metadata)}] if info else []
        caller.note(body, 400 if refused else 0, {"details": details})
