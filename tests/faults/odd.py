"""Rows about odd input, odd policy and odd volume: what breaks promises while every process lives.

See faults.py for what a row is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import grpc

from job_store.keys import ALERTS, ONLY
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.faults.checker import recorded
from tests.faults.faults import LITTLE_MEMORY, Row, details_of
from tests.faults.load import SECRET, Answer, Caller, alert_id_of
from tests.faults.scene import Scene, at_once
from tests.faults.stage import Kind

JSON = {"Content-Type": "application/json"}

NOISE_CALLS = 10_000
NOISE_CALLERS = 8

MOST_NOISE_REPORTS = 50
"""Reports that noise of one client may leave in a minute or two."""
LARGEST_REPORT_BYTES = 5 * 1024 * 1024

PATTERN = "project nightjar"
OTHER_PATTERN = "project osprey"


def _policy(keyword: str) -> str:
    return f"version: 1\naction: reject\nkeywords:\n  - ssn\n  - {keyword}\n"


POLICED = Kind("a policy file", {"ingest_processes": 2}, policy=_policy(PATTERN))
RESTORED = Kind("Redis restored", {"ingest_processes": 2, "worker_processes": 2})


# Refusals of the gateway's own.


def refuse_at_the_edge(scene: Scene) -> None:
    """The alert service is away, and the gateway dies as soon as it has answered."""
    before = {row["task_id"] for row in _unkeyed_rows(scene)}
    large = b'{"data":"' + b"x" * 1_200_000 + b'"}'
    refusals = [
        ("/submit", b'{"data":', JSON, 400),
        ("/submit", b"[1]", JSON, 400),
        ("/submit", b'{"data":1,"source":{"a":1}}', JSON, 400),
        ("/submit?colour=red", b'{"data":1}', JSON, 400),
        ("/submit", large, JSON, 413),
        ("/submit", b'{"data":1}', {"Content-Type": "text/plain"}, 415),
    ]
    scene.supervisor.stop_program("alert_service")
    told = 0
    scene.random.shuffle(refusals)
    for path, body, headers, status in refusals:
        answer = scene.until(lambda: _status(scene, path, body, headers), "the gateway is away")  # noqa: B023
        scene.kill("api_gateway")
        scene.expect(answer == status, f"{path} was answered with {answer}, not {status}")
        told += answer == status
    scene.supervisor.start_program("alert_service")
    scene.lift()

    def on_record() -> list[dict[str, Any]]:
        rows = [row for row in _unkeyed_rows(scene) if row["task_id"] not in before]
        return rows if len(rows) >= told else []

    rows = scene.until(on_record, "what the gateway refused is not on record", 15)
    ids = {str(row["alert_id"]) for row in rows}

    def counted() -> bool:
        return _counted(scene, ids) >= told

    scene.until(counted, "alerts do not count what the gateway refused", 15)
    for alert_id in ids:
        _expect_report(scene, alert_id)


def drown_alarms(scene: Scene) -> None:
    """Ten thousand calls to nowhere, while callers are refused for what they send."""
    folder = scene.mesh.settings.reports_dir

    def counts() -> dict[str, int]:
        """Return how many refusals each report stands for that is not about personal data."""
        alerts = [json.loads(path.read_text())["alert"] for path in folder.rglob("alert_*.txt")]
        return {
            str(alert["alert_id"]): int(alert.get("count", 1))
            for alert in alerts
            if alert.get("event_type") != "PII"
        }

    before = counts()

    def noise(caller: int) -> int:
        connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=15)
        told = 0
        for call in range(NOISE_CALLS // NOISE_CALLERS):
            connection.request("GET", f"/nope/{caller}/{call}")
            answer = connection.getresponse()
            answer.read()
            told += answer.status == 404
        connection.close()
        return told

    told = sum(at_once(NOISE_CALLERS, noise))
    scene.expect(told == NOISE_CALLS, f"{NOISE_CALLS - told} calls to nowhere were not answered")
    scene.lift()

    def counted() -> bool:
        return sum(counts().values()) - sum(before.values()) >= told

    scene.until(counted, "the noise is not counted", 20)
    reports = counts().keys() - before.keys()
    scene.expect(len(reports) <= MOST_NOISE_REPORTS, f"noise left {len(reports)} reports")


# Alerts that are a burden.


def fill_redis_with_alerts(scene: Scene) -> None:
    """Large refusals pile up while the alert service is away, until Redis is at its limit."""
    scene.supervisor.stop_program("alert_service")
    statuses: Counter[int] = Counter()
    callers = [scene.caller() for _ in range(4)]

    def refuse(number: int) -> None:
        turned_away = 0
        for _ in range(400):
            body = callers[number].body(refused=True)
            body["data"]["filler"] = "all work and no play " * 1000
            status = callers[number].submit(body).status
            statuses[status] += 1
            turned_away += status in (429, 503)
            if turned_away >= 25:
                return

    at_once(len(callers), refuse)
    for caller in callers:
        caller.close()
    scene.expect(set(statuses) <= {400, 429, 503}, f"callers got {sorted(statuses)}")
    scene.expect(statuses[429] + statuses[503] >= 25, "nobody was turned away")
    # Whatever kept it from that, now Redis is at its limit.
    limit = cast(str, scene.redis.config_get("maxmemory")["maxmemory"])
    scene.redis.config_set("maxmemory", int(scene.redis.info("memory")["used_memory"] * 0.95))
    try:
        scene.supervisor.start_program("alert_service")
        scene.lift()
        scene.until(
            lambda: not scene.redis.exists(ONLY.messages(ALERTS)), "the alerts do not drain", 30
        )
    finally:
        scene.redis.config_set("maxmemory", limit)


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
            lambda: _alert(scene, alert_id),  # noqa: B023
            "an alert that was too large or too deep is not delivered",
            15,
        )
        _expect_report(scene, alert_id)


# Redis as it was earlier, or as it never was.


def restore_redis(scene: Scene) -> None:
    """Redis comes back as an older copy of itself, and with it what it has handed out."""
    folder = scene.stage.state / "redis"
    copy = scene.stage.state / f"redis-{time.monotonic_ns()}"
    scene.until(scene.is_drained, "the queues did not drain")
    shutil.copytree(folder, copy)
    since = _newest_time(scene)
    _kill_and_await(scene, scene.stage.ingest[1])
    _submit_in_pieces(scene)
    scene.kill_and_hold("redis")
    shutil.rmtree(folder)
    shutil.move(copy, folder)
    scene.supervisor.start_program("redis")
    _go_on_from_there(scene, scene.stage.ingest[0], since, rounds=1)


def empty_redis(scene: Scene) -> None:
    """Somebody empties Redis."""
    _submit_in_pieces(scene)
    scene.redis.flushall()
    # What Redis numbers begins anew: one of two newcomers gets what the other process has.
    _go_on_from_there(scene, scene.stage.ingest[1], 0, rounds=2)


def _submit_in_pieces(scene: Scene) -> None:
    """Have many times handed out, and written: two processes, each in long runs."""

    def submit(_number: int) -> None:
        connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=30)
        for _ in range(5):
            submissions = [{"data": {"before": number}} for number in range(500)]
            body = json.dumps({"submissions": submissions})
            connection.request("POST", "/submit:batch", body, JSON)
            answer = connection.getresponse()
            answer.read()
            scene.expect(answer.status == 200, f"a batch got {answer.status}")
        connection.close()

    at_once(4, submit)
    scene.until(scene.is_drained, "the queues did not drain")


def _go_on_from_there(scene: Scene, newcomer: str, since: int, rounds: int) -> None:
    """Submit as before, beside a process that is new, and see that no point takes another's place.

    What Redis does not know of any more is then removed, so that its books can be compared.
    """
    earlier = {row["time"]: row["task_id"] for row in _all_rows(scene) if row["time"] > since}
    callers = [scene.caller() for _ in range(4)]

    def submit(number: int) -> None:
        for _ in range(10):
            callers[number].submit_batch([callers[number].body() for _ in range(500)])

    for _ in range(rounds):
        _kill_and_await(scene, newcomer)
        answer = callers[0].insist(callers[0].body(repeatable=True), 15)
        scene.expect(bool(answer.receipt), "nothing was accepted within 15 s")
        at_once(len(callers), submit)
    for caller in callers:
        caller.close()
    scene.until(scene.is_drained, "the queues did not drain")
    rows = _all_rows(scene)
    now = {row["time"]: row["task_id"] for row in rows}
    replaced = [moment for moment, task_id in earlier.items() if now.get(moment) != task_id]
    scene.expect(not replaced, f"{len(replaced)} rows of before were replaced")
    scene.expect(len(now) == len(rows), f"{len(rows) - len(now)} rows share their time")
    _delete_rows(scene, min(earlier), max(earlier))
    scene.lift()


# Policies that change.


def spoil_policy(scene: Scene) -> None:
    """The policy file is emptied, cut off, replaced and gone, while callers are refused by it."""
    path = scene.stage.policy
    good = path.read_text()
    spoilt: list[bytes | None] = [
        b"version: 1\naction: reject\nkeywords:\n  - \xff\xfe\n",
        "version: 1\naction: reject\npatterns:\n  - name: x\n    pattern: '\uff3b'\n".encode(),
        b"version: 1\naction: off\nkeywords: [\n",
        b"- " * 10_000 + b"\n",
        None,
    ]
    spoilt = [b"", good.encode()[:-4], *scene.random.sample(spoilt, 2)]
    scene.random.shuffle(spoilt)
    for content in spoilt:
        told = _policy_complaints(scene)
        _replace(path, content, at_once=scene.random.random() < 0.5)
        scene.until(
            lambda told=told: all(  # type: ignore[misc]
                now > then for now, then in zip(_policy_complaints(scene), told, strict=True)
            ),
            f"no log says that the policy is not taken: {content!r:.40}",
            10,
        )
        scene.expect(_is_refused(scene, PATTERN), "what the old policy stops was let through")
    _replace(path, _policy(OTHER_PATTERN).encode(), at_once=True)
    scene.until(lambda: _is_refused(scene, OTHER_PATTERN), "no policy is taken up any more", 10)
    _replace(path, good.encode(), at_once=False)
    scene.until(lambda: _is_refused(scene, PATTERN), "the good policy is not taken up again", 10)
    scene.lift()


def change_policy(scene: Scene) -> None:
    """A request_id gets the answer it got, whatever the policy says by then."""
    path = scene.stage.policy
    good = path.read_text()
    caller = scene.caller()
    bodies = []
    for number in range(10):
        body = caller.body(repeatable=True)
        if number % 2:
            body["data"]["remark"] = f"about {PATTERN}"
        else:
            body["data"]["what"] = f"about {OTHER_PATTERN}"
        bodies.append(body)
    answers = [caller.insist(body) for body in bodies]
    scene.expect(
        [answer.status for answer in answers] == [200, 400] * 5, "the policy is not the first one"
    )
    for policy, word in ((_policy(OTHER_PATTERN), OTHER_PATTERN), (good, PATTERN)):
        path.write_text(policy)
        scene.until(lambda word=word: _is_refused(scene, word), "the policy was not taken up", 10)  # type: ignore[misc]
        again = [caller.insist(body) for body in bodies]
        scene.expect(again == answers, "a request_id got another answer under another policy")
        scene.expect(
            _batch(caller, bodies) == answers, "a request_id got another answer in a batch"
        )
    caller.close()
    scene.lift()


def _batch(caller: Caller, bodies: list[dict[str, Any]]) -> list[Answer]:
    status, answer = caller.post("/submit:batch", {"submissions": bodies})
    if status != 200:
        return [Answer(status)]
    return [
        Answer(200, result["task_id"])
        if result.get("task_id")
        else Answer(400, alert_id_of(result["error"]))
        for result in answer["results"]
    ]


def _replace(path: Path, content: bytes | None, *, at_once: bool) -> None:
    """Give a file another content, by a new file or in the old one; None for no file."""
    if content is None:
        path.unlink()
    elif at_once:
        other = path.with_suffix(".new")
        other.write_bytes(content)
        other.replace(path)
    else:
        path.write_bytes(content)


def _policy_complaints(scene: Scene) -> list[int]:
    """Return how often each ingest process has said that it does not take a policy."""
    return [
        sum(
            line.get("level") in ("error", "warning") and "policy" in str(line.get("event"))
            for line in map(json.loads, _json_lines(scene, name))
        )
        for name in scene.stage.ingest
    ]


def _json_lines(scene: Scene, program: str) -> list[str]:
    lines = (scene.supervisor.logs / f"{program}.log").read_text().splitlines()
    return [line for line in lines if line[:1] == "{" and line[-1:] == "}"]


def _is_refused(scene: Scene, text: str) -> bool:
    """Tell whether each ingest process refuses a text: asked often enough to meet all of them."""
    connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=10)
    try:
        for _ in range(12):
            connection.request("POST", "/scan", json.dumps({"data": text}), JSON)
            if not json.loads(connection.getresponse().read()).get("findings"):
                return False
        return True
    finally:
        connection.close()


# What is there.


def _status(scene: Scene, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Make a call and return the status of its answer, 0 for none."""
    host, port = scene.mesh.gateway.split(":")
    fields = {"Host": scene.mesh.gateway, "Content-Length": len(body), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 15) as caller:
        # A body that is too large is answered before its end.
        with contextlib.suppress(ConnectionError):
            caller.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = caller.recv(65536).split()
        return int(answer[1]) if answer else 0
    return 0


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
            return alert_id_of({"details": details_of(call)})
    scene.expect(False, f"{depth} levels were accepted")
    return ""


def _alert(scene: Scene, alert_id: str) -> dict[str, Any]:
    """Return what the mesh tells about an alert, nothing when there is none."""
    url = f"http://{scene.mesh.gateway}/alerts/{urllib.parse.quote(alert_id, safe='')}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["alert"]
            return found
    except urllib.error.HTTPError as error:
        error.close()
        return {}


def _counted(scene: Scene, alert_ids: Iterable[str]) -> int:
    """Return how many refusals these alerts stand for."""
    return sum(int(_alert(scene, alert_id).get("count", 0)) for alert_id in alert_ids)


def _expect_report(scene: Scene, alert_id: str) -> None:
    report = scene.mesh.settings.reports_dir / str(_alert(scene, alert_id).get("report", "none"))
    scene.expect(report.is_file(), "an alert has no report")
    if report.is_file():
        size = report.stat().st_size
        scene.expect(size <= LARGEST_REPORT_BYTES, f"a report has {size} bytes")


def _all_rows(scene: Scene) -> list[dict[str, Any]]:
    return recorded(scene.mesh.influx_url, scene.mesh.influx_headers())


def _unkeyed_rows(scene: Scene) -> list[dict[str, Any]]:
    """Return the refusals on record that no caller of the load made."""
    rows = []
    for row in _all_rows(scene):
        data = json.loads(row["payload"])
        if row["verdict"] == "rejected" and not (isinstance(data, dict) and "key" in data):
            rows.append(row)
    return rows


def _newest_time(scene: Scene) -> int:
    return max((int(row["time"]) for row in _all_rows(scene)), default=0)


def _delete_rows(scene: Scene, first: int, last: int) -> None:
    query = f"DELETE FROM interactions WHERE time >= {first} AND time <= {last}"
    body = urllib.parse.urlencode({"db": "logs", "q": query}).encode()
    url, headers = f"{scene.mesh.influx_url}/query", scene.mesh.influx_headers("admin")
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        scene.expect("error" not in answer.read().decode(), "rows could not be deleted")


def _kill_and_await(scene: Scene, name: str) -> None:
    pid = scene.kill(name)
    scene.until(lambda: scene.supervisor.pid(name) not in (0, pid), f"{name} did not come back")
    scene.mesh.wait_healthy()


ROWS = (
    Row(
        "edge-refusals",
        "refusals of the gateway itself: no alert service, and Envoy killed after each answer",
        15,
        refuse_at_the_edge,
    ),
    Row(
        "edge-noise",
        "10,000 calls to unknown paths beside refusals of personal data",
        10,
        drown_alarms,
    ),
    Row(
        "redis-full-of-alerts",
        "Redis at its limit by queued alerts, then the alert service is back",
        30,
        fill_redis_with_alerts,
        kind=LITTLE_MEMORY,
        rate=10,
    ),
    Row(
        "unwieldy-alerts",
        "alerts too large or too deep to deliver, raised without an alert service",
        15,
        raise_unwieldy_alerts,
    ),
    Row(
        "redis-restored",
        "Redis restored from an older copy while ingest lives",
        20,
        restore_redis,
        kind=RESTORED,
        rate=0,
        spends_the_mesh=True,
    ),
    Row(
        "redis-emptied",
        "FLUSHALL while ingest lives",
        20,
        empty_redis,
        kind=RESTORED,
        rate=0,
        spends_the_mesh=True,
        in_tests=False,
    ),
    Row(
        "policy-spoilt",
        "the policy file emptied, cut off, replaced and removed under load",
        10,
        spoil_policy,
        kind=POLICED,
    ),
    Row(
        "policy-changed",
        "one request_id under a policy, a relaxed one and the first again",
        10,
        change_policy,
        kind=POLICED,
    ),
)
