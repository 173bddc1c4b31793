"""A secret goes into the alert report and nowhere else, on whatever path it was refused.

Two secrets are told apart: one that a detector finds and one that none does. They are sent to every
door, in every place of a request; then everything that the mesh has left is searched.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import grpc
import pytest
import redis

from deploy.local.mesh import LocalMesh
from job_store.keys import INTERACTIONS, ONLY, QUEUES
from tests.kit.client import JSON, Answer, Client
from tests.kit.spellings import spellings
from tests.kit.waiting import eventually
from tests.security import canary, wire
from tests.security.calls import call
from tests.security.wire import exchange, http2_get, request

WORD = canary.fresh_word()
"""No detector finds it. Recorded where it is accepted; where it is refused, in the report only."""

EMAIL = f"{canary.fresh_word()}@example.com"
"""Detectors find it."""

PII = "123-45-6789"

ALERT = "/sluice.alert.v1.AlertService"
INGEST = "/sluice.ingest.v1.IngestService"


@dataclass
class Aftermath:
    """What the mesh has left, and what it has answered."""

    reports: list[tuple[str, bytes]]
    drained_redis: list[tuple[str, bytes]]
    redis: list[tuple[str, bytes]]
    metrics: list[tuple[str, bytes]]
    refused_rows: list[tuple[str, bytes]]
    listed_alerts: list[Any]
    answers: list[tuple[str, bytes]]
    logs: list[tuple[str, bytes]]
    accepted: Any
    not_written: Any
    reflection: grpc.StatusCode


@dataclass
class Sender:
    """Sends secrets and keeps the answers."""

    client: Client
    answers: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def mesh(self) -> LocalMesh:
        return self.client.mesh

    def rest(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        refused: bool = True,
    ) -> Answer:
        """Make an HTTP request at both doors, and keep the answers. A body is bytes or JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**({} if data is None else JSON), **(headers or {})}
        for address in (self.mesh.alert_door, self.mesh.gateway):
            answer = self.client.call(method, path, data, sent, address=address)
            assert not refused or answer.status >= 400, (path, answer.body)
            headers_sent = str(sorted(answer.headers.items())).encode()
            self.answers.append((f"{method} on {address}", headers_sent + answer.body))
        return answer

    def raw(self, data: bytes) -> None:
        """Send bytes, and keep the body of the answer.

        Its header x-request-id gives a client its own id back where the gateway has none yet.
        """
        self.answers.append(("raw", exchange(self.mesh.gateway, data).body))

    def grpc(self, method: str, data: bytes, metadata: Any = None, stream: bool = False) -> None:
        """Make a call through the gateway and past it, and keep how it ended.

        Metadata do not go past it: there, nobody replaces the request id that they claim.
        """
        settings = self.mesh.settings
        port = settings.alert_grpc_port if ALERT in method else settings.ingest_grpc_port
        addresses = [self.mesh.gateway] if metadata else [self.mesh.gateway, f"127.0.0.1:{port}"]
        for address in addresses:
            with grpc.insecure_channel(address) as channel:
                call: Any = channel.stream_stream(method) if stream else channel.unary_unary(method)
                try:
                    if stream:
                        ended = call(iter([data]), timeout=20, metadata=metadata)
                        told = b"".join(ended)
                    else:
                        told, ended = call.with_call(data, timeout=20, metadata=metadata)
                except grpc.RpcError as error:
                    ended, told = error, b""
            told += str((ended.details(), ended.trailing_metadata())).encode()
            self.answers.append((f"{method} at {address}", told))


def send_to_ingest_over_rest(sender: Sender) -> None:
    for secret in (EMAIL, f"{WORD} {PII}"):
        bodies: list[dict[str, Any]] = [
            {"data": secret},
            {"data": {"a": [secret]}},
            {"data": {secret: 1}} if secret == EMAIL else {"data": [secret]},
            {"data": 1, "source": secret},
            {"data": 1, "request_id": secret},
        ]
        for body in bodies:
            sender.rest("POST", "/submit", body)
            sender.rest("POST", "/scan", body, refused=False)
            sender.rest("POST", "/submit:batch", {"submissions": [body]}, refused=False)
    for secret in (EMAIL, WORD):
        for data in ([secret, "a\0b"], [secret, 2**60], [secret, [[]] * 10_000]):
            sender.rest("POST", "/submit", {"data": data})
        deep = json.loads("[" * 40 + f'"{secret}"' + "]" * 40)
        sender.rest("POST", "/submit", {"data": deep})
        for text in (
            f'{{"data":"{secret}"',
            f'["{secret}"]',
            f'{{"data":1,"source":["{secret}"]}}',
            f'{{"data":"{secret}","source":{{"{secret}":"{secret}"}}}}',
            f'{{"data":"{secret} \\ud800"}}',
            f'{{"data":{secret}}}',
            f'"{secret}"',
            f'{{"data":{{"{secret}":1,"{secret}":2}}}}',
        ):
            sender.rest("POST", "/submit", text.encode())
        for bad in (b"\xff", b"\xed\xa0\x80"):
            sender.rest("POST", "/submit", b'{"data":"' + secret.encode() + bad + b'"}')
        sender.rest("POST", "/submit", f'{{"data":"{secret}"}}'.encode() * 60_000)
        sender.rest("POST", "/submit", {"data": secret}, {"Content-Type": "text/plain"})
        sender.rest("POST", "/submit", {"data": secret}, {"Content-Type": f"text/{WORD}"})


def send_in_paths_and_headers(sender: Sender) -> None:
    for secret in (EMAIL, WORD):
        sender.rest("POST", f"/submit?{quote(secret)}=1", {"data": 1})
        sender.rest("POST", f"/submit?x={secret}", {"data": 1})
        for path in (
            f"/status/{secret}", f"/status/{secret}:watch", f"/alerts/{secret}", f"/{secret}",
            f"/alerts?page_token={secret}", f"/alerts?page_size={secret}", f"/status/x?q={secret}",
            f"/status/{secret}%2f", f"/status/{secret}%ff", f"/../{secret}/..;/{secret}",
        ):  # fmt: skip
            sender.rest("GET", path)
        named = {
            "User-Agent": secret,
            "Referer": secret,
            "Cookie": secret,
            "Authorization": f"Bearer {secret}",
            "X-Forwarded-For": secret,
            "X-Request-Id": secret,
            "X-Envoy-Original-Path": secret,
            "Origin": secret,
            "Grpc-Encoding": secret,
            f"X-{WORD}": secret,
        }
        sender.rest("POST", "/submit", {"data": PII}, named)
        sender.rest("GET", "/nowhere", headers=named)
        sender.rest("PUT", "/submit", headers=named)
        sender.rest("GET", "/status/none", headers=named)
        mine = f"x-request-id: {secret}"
        for line, *headers in (
            ["GET /status/x HTTP/1.1", mine],
            ["GET /status/a%2fb HTTP/1.1", "Host: localhost", mine],
            ["OPTIONS * HTTP/1.1", "Host: localhost", mine],
            [f"GET /{secret} HTTP/1.0", f"Host: {WORD}", mine],
            [f"GET http://{WORD}/{secret}?{secret} HTTP/1.1", f"Host: {WORD}", mine],
            [f"GET /{secret}\0 HTTP/1.1", "Host: localhost", mine],
            [f"{WORD.upper()} / HTTP/1.1", "Host: localhost", mine],
            ["GET / HTTP/1.1", f"Host: {secret}", mine, f"a_b: {secret}"],
            ["GET / HTTP/1.1", f"Host: {secret}", mine],
            ["GET / HTTP/1.1", "Host: localhost", mine, f"Origin: http://{secret}"],
            ["POST /submit HTTP/1.1", "Host: localhost", mine, f"Content-Type: {secret}"],
            [f"POST /submit?{secret} HTTP/1.1", "Host: localhost", mine, "Content-Length: 0",
             "Content-Type: application/json"],
            ["GET / HTTP/1.1", "Host: localhost", mine, f"x: {secret * 1000}"],
            ["GET / HTTP/1.1", "Host: localhost", mine, *[f"x{n}: {secret}" for n in range(61)]],
            ["POST /submit HTTP/1.1", "Host: localhost", mine, "Transfer-Encoding: chunked",
             f"Content-Length: 5{secret}"],
            ["GET / HTTP/1.1", "Host: localhost", mine, "Connection: Upgrade",
             f"Upgrade: {secret}"],
            [f"{secret}"],
        ):  # fmt: skip
            sender.raw(request(line, *headers))
        # HTTP/2 takes any word for a method.
        for sent in (
            {":method": WORD, ":path": f"/{secret}"},
            {":method": "GET", ":path": f"/x?{secret}", f"x-{WORD}-bin": "!!"},
            {":method": "GET", ":path": f"/{secret}", "te": secret},
            {":method": "GET", ":path": secret},
            {":method": "POST", ":path": wire.SUBMIT, "content-type": "application/grpc",
             f"x-{WORD}-bin": "!!", "te": "trailers"},
            {":method": "POST", ":path": wire.SUBMIT, "content-type": "application/grpc",
             "grpc-encoding": secret, "grpc-timeout": secret, "te": "trailers"},
        ):  # fmt: skip
            pseudo = {":scheme": "http", ":authority": "x"}
            http2_get(sender.mesh, {**pseudo, **sent, "x-request-id": secret})


def send_over_grpc(sender: Sender) -> None:
    secrets = (EMAIL.encode(), WORD.encode())
    refused = wire.submission(wire.text_value(EMAIL.encode()))
    undecodable = [wire.submission(wire.text_value(each + b"\xff")) for each in secrets]
    undecodable += [
        wire.submission(wire.struct_value([(each + b"\xff", wire.text_value(each))]))
        for each in secrets
    ]
    broken = [
        wire.submission(wire.text_value(each + b"\0"), source=each + b" ", request_id=each + b" ")
        for each in secrets
    ]
    for data in (refused, *undecodable, *broken):
        sender.grpc(wire.SUBMIT, data)
        sender.grpc(wire.SCAN, data)
        sender.grpc(wire.SUBMIT_BATCH, wire.field(1, data))
        sender.grpc(wire.SUBMIT_STREAM, wire.field(1, data), stream=True)
    for each in secrets:
        sender.grpc(f"{INGEST}/GetStatus", wire.field(1, each))
        sender.grpc(f"{INGEST}/GetStatus", wire.field(1, each + b"\xff"))
        sender.grpc(f"{INGEST}/{WORD}", each)
        sender.grpc(f"/{WORD}/{WORD}", each)
        metadata = [("x-request-id", each.decode()), (f"x-{WORD}", each.decode())]
        sender.grpc(wire.SUBMIT, refused, metadata)
        sender.grpc(wire.SUBMIT, each + b"\xff\xff", metadata)
        sender.grpc(f"{ALERT}/GetAlert", wire.field(1, each))
        sender.grpc(f"{ALERT}/ListAlerts", wire.field(2, each))


def send_to_the_alert_service(sender: Sender) -> None:
    for secret in (EMAIL, WORD):
        for body in (
            {"event_type": secret},
            {"event_type": "X", "alert_id": f"{secret} "},
            {"event_type": "X", "source": f"{secret} "},
            {"event_type": "X", "request_id": f"{secret} "},
            {"event_type": "X", "message": secret * 1000},
            {"event_type": "", "payload": secret},
            {"event_type": "X", "payload": secret, "raise_time": secret},
        ):
            sender.rest("POST", "/alert", body)
        sender.rest("POST", "/alert", f'{{"event_type":"{secret}'.encode())
        sender.grpc(f"{ALERT}/RaiseAlert", wire.field(2, secret.encode()))
        sender.grpc(f"{ALERT}/RaiseAlert", wire.field(2, secret.encode() + b"\xff"))
        raised = {"event_type": "X", "payload": {secret: secret}}
        sender.rest("POST", "/alert", raised, refused=False)


def send_while_the_alert_service_is_away(sender: Sender) -> None:
    supervisor = sender.mesh.supervisor
    supervisor.stop_program("alert_service")
    sender.client.submit({"away": EMAIL})
    sender.client.submit([WORD, "a\0b"])
    sender.client.submit(1, source=f"{WORD} ")
    sender.client.call("POST", "/alert", f'{{"event_type":"{EMAIL}"}}'.encode(), JSON)
    supervisor.start_program("alert_service")
    sender.mesh.wait_healthy()


def make_influxdb_refuse_request_ids(mesh: LocalMesh) -> None:
    """Give the field another type, so that InfluxDB answers 400 and quotes the line."""
    line = f"interactions,verdict=accepted request_id=1i {time.time_ns()}".encode()
    url = f"{mesh.influx_url}/write?db=logs"
    with urlopen(Request(url, line, mesh.influx_headers("writer")), timeout=10) as answer:
        assert answer.status == 204


def send_what_influxdb_refuses(sender: Sender) -> Any:
    """Send what is accepted and then not written; return what became of it."""
    request_id = canary.fresh_word()
    accepted = sender.client.submit(WORD, request_id=request_id)
    reused = sender.client.submit(f"{WORD} again", request_id=request_id)
    assert reused.status == 409
    sender.answers.append(("reused", reused.body))
    return sender.client.finished(accepted.json["task_id"])


def reflection_status(mesh: LocalMesh) -> grpc.StatusCode:
    with grpc.insecure_channel(mesh.gateway) as channel:
        return call(channel, "/grpc.reflection.v1alpha.ServerReflection/Info", b"").code()


def drained(mesh: LocalMesh) -> bool:
    with redis.Redis.from_url(mesh.redis_url) as store:
        left = [
            key
            for pattern in (
                *(f"{ONLY.waiting(queue)}*" for queue in QUEUES),
                ONLY.fetched("*", "*"),
            )
            for key in store.scan_iter(pattern)
        ]
        return not left and not store.hlen(ONLY.open_jobs)


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    mesh = LocalMesh.on_free_ports(
        tmp_path_factory.mktemp("canary"), {"SLUICE_REFLECTION": "false"}
    )
    mesh.start()
    try:
        client = Client(mesh)
        sender = Sender(client)
        make_influxdb_refuse_request_ids(mesh)
        accepted = client.submit(WORD).json["task_id"]
        send_to_ingest_over_rest(sender)
        send_in_paths_and_headers(sender)
        send_over_grpc(sender)
        send_to_the_alert_service(sender)
        send_while_the_alert_service_is_away(sender)
        eventually(lambda: drained(mesh), seconds=60)
        drained_redis = list(canary.redis_content(mesh.redis_url))
        not_written = send_what_influxdb_refuses(sender)
        # Alerts of the gateway's refusals come a moment later; the last one is awaited.
        before = client.refused_at_edge()
        client.get("/the-last-of-them")
        eventually(lambda: client.refused_at_edge() > before)
        rows = client.rows("verdict = 'rejected'")
        aftermath = Aftermath(
            reports=list(canary.files(mesh.settings.reports_dir)),
            drained_redis=drained_redis,
            redis=list(canary.redis_content(mesh.redis_url)),
            metrics=list(canary.metrics(mesh)),
            refused_rows=[(str(row["time"]), json.dumps(row).encode()) for row in rows],
            listed_alerts=client.get("/alerts?page_size=500").json["alerts"],
            answers=sender.answers,
            logs=[],
            accepted=client.rows(f"task_id = '{accepted}'"),
            not_written=not_written,
            reflection=reflection_status(mesh),
        )
    finally:
        # Logs are written to the end by then.
        mesh.stop()
    aftermath.logs += canary.files(mesh.supervisor.logs)
    yield aftermath


def test_both_secrets_are_in_alert_reports_and_what_was_accepted_is_recorded(
    aftermath: Aftermath,
) -> None:
    assert canary.found([EMAIL], aftermath.reports)
    assert canary.found([WORD], aftermath.reports)
    assert WORD in aftermath.accepted[0]["payload"]


def test_no_secret_is_in_any_log(aftermath: Aftermath) -> None:
    names = {name for name, _ in aftermath.logs}
    programs = ("api_gateway", "ingest_service", "alert_service", "worker", "redis", "influxdb")
    assert {f"{program}.log" for program in programs} | {"supervisord.log"} <= names
    assert canary.found([EMAIL, WORD], aftermath.logs) == []


def test_every_refusal_of_the_gateway_is_in_the_access_log(aftermath: Aftermath) -> None:
    (log,) = [content for name, content in aftermath.logs if name == "api_gateway.log"]
    assert {json.loads(line)["process"] for line in log.splitlines() if line[:1] == b"{"} == {
        "api_gateway"
    }
    for details in (b"direct_response", b"missing_host_header", b"grpc_json_transcode_failure"):
        assert details in log


def test_no_secret_is_left_in_redis_once_the_queue_has_drained(aftermath: Aftermath) -> None:
    assert aftermath.drained_redis
    assert canary.found([EMAIL, WORD], aftermath.drained_redis) == []


def test_what_influxdb_refused_is_in_the_queue_and_nowhere_else(aftermath: Aftermath) -> None:
    assert aftermath.not_written["state"] == "TASK_STATE_FAILED"
    assert aftermath.not_written["last_error"] == "FIELD_TYPE_CONFLICT"
    places = {each.rpartition(":")[0] for each in canary.found([WORD], aftermath.redis)}
    assert places == {ONLY.dead_messages(INTERACTIONS)}


def test_no_secret_is_in_any_metric(aftermath: Aftermath) -> None:
    assert len(aftermath.metrics) >= 5
    assert canary.found([EMAIL, WORD], aftermath.metrics) == []


def test_no_secret_is_in_any_answer(aftermath: Aftermath) -> None:
    assert len(aftermath.answers) > 200
    assert canary.found([EMAIL, WORD], aftermath.answers) == []


def test_no_secret_is_among_the_recorded_refusals(aftermath: Aftermath) -> None:
    assert len(aftermath.refused_rows) > 50
    assert canary.found([EMAIL], aftermath.refused_rows) == []
    # Beside a finding, what no detector finds is part of the masked record.
    withheld = [row for row in aftermath.refused_rows if b"[withheld]" in row[1]]
    assert withheld
    assert canary.found([WORD], withheld) == []


def test_no_secret_is_in_the_list_of_alerts(aftermath: Aftermath) -> None:
    # A source is told as it was sent, so that somebody can be talked to.
    alerts = [alert | {"source": ""} for alert in aftermath.listed_alerts]
    assert sum(alert["count"] for alert in alerts) > 200
    listed = [(alert["alert_id"], json.dumps(alert).encode()) for alert in alerts]
    assert canary.found([EMAIL, WORD], listed) == []


@pytest.mark.parametrize("spelling", spellings(EMAIL))
@pytest.mark.parametrize("place", ["alone", "within"])
def test_the_search_finds_what_is_planted(tmp_path: Path, spelling: str, place: str) -> None:
    content = spellings(EMAIL)[spelling]
    (tmp_path / "some.log").write_bytes(content if place == "alone" else b"a\n" + content + b"\0z")
    assert f"some.log: {spelling}" in canary.found([WORD, EMAIL], canary.files(tmp_path))


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc", '{"data":"é'.encode()])
@pytest.mark.parametrize("after", [b"", b"z", b"yz"])
def test_the_search_finds_what_is_encoded_with_its_neighbours(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    whole = before + WORD.encode() + after
    for content in (base64.b64encode(whole), whole.hex().encode()):
        (tmp_path / "some.log").write_bytes(content)
        assert canary.found([WORD], canary.files(tmp_path))


def test_the_search_finds_what_is_planted_in_redis(client: Client) -> None:
    with redis.Redis.from_url(client.mesh.redis_url) as store:
        store.set("planted:string", WORD * 100)
        store.rpush("planted:list", "x", WORD)
        store.hset("planted:hash", WORD, "x")
        store.sadd("planted:set", WORD)
        store.zadd("planted:zset", {WORD: 1})
        store.set(f"planted:{EMAIL}", "x")
        places = canary.found([WORD, EMAIL], canary.redis_content(client.mesh.redis_url))
        for key in store.scan_iter("planted:*"):
            store.delete(key)
    for kind in ("string", "list", "hash", "set", "zset", EMAIL):
        assert f"planted:{kind}: raw" in places


def test_reflection_can_be_switched_off_and_then_is(aftermath: Aftermath) -> None:
    assert aftermath.reflection is grpc.StatusCode.UNIMPLEMENTED
