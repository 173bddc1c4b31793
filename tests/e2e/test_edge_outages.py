"""What the gateway refuses itself, while parts are down or die. On a mesh of its own."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.kit.client import JSON, Answer, Client
from tests.kit.meshes import running_mesh
from tests.kit.waiting import eventually

TIMES = 10

REFUSED = [
    (400, b"{", JSON),
    (413, b"x" * 1_100_000, JSON),
    (415, b"{}", {"Content-Type": "text/plain"}),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_mesh(tmp_path_factory.mktemp("edge"), ingest_processes=2) as mesh:
        yield Client(mesh)


def send(client: Client, number: int) -> Answer:
    """Send something that the gateway refuses, in turn one way and another."""
    status, body, headers = REFUSED[number % len(REFUSED)]
    answer = client.call("POST", "/submit", body, headers)
    assert answer.status == status, answer.body
    return answer


def alert_id(answer: Answer) -> str:
    return str(answer.detail("ErrorInfo")["metadata"]["alert_id"])


def require_rows(client: Client, answers: list[Answer]) -> None:
    """Wait until each refusal is on record: twice, when a process died that had just done so."""
    wanted = [alert_id(answer) for answer in answers]

    def recorded() -> bool:
        condition = " OR ".join(f"alert_id = '{each}'" for each in set(wanted))
        found = Counter(row["alert_id"] for row in client.rows(condition))
        return found >= Counter(wanted)

    eventually(recorded, 40)


def require_reports(client: Client, answers: list[Answer]) -> None:
    """Wait until each alert has its report, under its own id or counted with others of its rule."""
    wanted = {each.headers["x-request-id"] for each in answers}

    def reported() -> bool:
        alerts = [json.loads(path.read_text())["alert"] for path in client.reports().values()]
        counted = sum(int(alert.get("count", 1)) for alert in alerts)
        named = wanted & {alert.get("http_request_id") for alert in alerts}
        return named == wanted or counted >= len(wanted)

    eventually(reported, 40)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGTERM])
def test_alert_service_away_refuses_still_and_reports_later(
    client: Client, how: signal.Signals
) -> None:
    supervisor = client.mesh.supervisor
    if how is signal.SIGSTOP:
        supervisor.signal("alert_service", how)
    else:
        supervisor.stop_program("alert_service")
    try:
        answers = [send(client, number) for number in range(TIMES)]
    finally:
        if how is signal.SIGSTOP:
            supervisor.signal("alert_service", signal.SIGCONT)
        else:
            supervisor.start_program("alert_service")
    require_rows(client, answers)
    require_reports(client, answers)
    client.mesh.wait_healthy()


def test_an_ingest_process_that_dies_is_not_waited_for(client: Client) -> None:
    answers = []
    for number in range(TIMES):
        client.mesh.supervisor.signal(f"ingest_service-{1 + number % 2}", signal.SIGKILL)
        answers.append(send(client, number))
        client.mesh.wait_healthy()
    require_rows(client, answers)


def test_the_gateway_dies_right_after_the_answer(client: Client) -> None:
    for number in range(TIMES):
        answer = send(client, number)
        client.mesh.supervisor.signal("api_gateway", signal.SIGKILL)
        assert alert_id(answer) in client.reports()
        client.mesh.wait_healthy()
        require_rows(client, [answer])


def test_where_nothing_can_be_put_on_record_nothing_is_promised(client: Client) -> None:
    supervisor = client.mesh.supervisor
    supervisor.stop_program("redis")
    for _ in range(2):
        for _, body, headers in REFUSED:
            answer = client.call("POST", "/submit", body, headers)
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["content-type"] == "application/json"
            assert answer.json["code"] == 14
            assert answer.detail("ErrorInfo")["reason"] == "REFUSAL_NOT_RECORDED"
            assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]
        supervisor.signal("alert_service", signal.SIGSTOP)
    supervisor.signal("alert_service", signal.SIGCONT)
    supervisor.start_program("redis")
    client.mesh.wait_healthy()
    require_rows(client, [send(client, 0)])
