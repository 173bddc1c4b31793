"""A part is down, and callers are told the truth. On a mesh of its own, since parts are stopped."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.meshes import running_client
from tests.kit.client import Answer, Client
from tests.kit.waiting import eventually


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_client(tmp_path_factory.mktemp("outages")) as client:
        yield client


def test_alert_service_down_refuses_still_and_reports_later(client: Client) -> None:
    client.mesh.supervisor.stop_program("alert_service")
    answer = client.submit("my ssn is 123-45-6789")
    assert answer.status == 400
    alert_id = answer.detail("ErrorInfo")["metadata"]["alert_id"]
    assert alert_id not in client.reports()
    client.mesh.supervisor.start_program("alert_service")
    report = eventually(lambda: client.reports().get(alert_id), seconds=30)
    assert json.loads(report.read_text())["payload"] == "my ssn is 123-45-6789"


def test_influxdb_down_accepts_and_says_retrying_and_writes_later(client: Client) -> None:
    client.database.stop_program("influxdb")
    answer = client.submit("written late")
    assert answer.status == 200
    task_id = answer.json["task_id"]

    def retrying() -> dict[str, object] | None:
        task: dict[str, object] | None = client.task(task_id)
        return task if task and task["state"] == "TASK_STATE_RETRYING" else None

    assert eventually(retrying)["last_error"]
    client.database.start_program("influxdb")
    task = client.finished(task_id, seconds=40)
    assert task["state"] == "TASK_STATE_SUCCEEDED"
    assert task["attempts"] > 1
    assert len(client.rows(f"task_id = '{task_id}'")) == 1


def test_redis_down_is_told_at_once_and_over_when_it_is_back(client: Client) -> None:
    client.mesh.supervisor.stop_program("redis")
    for answer in (client.submit("x"), client.submit("my ssn is 123-45-6789")):
        assert answer.status == 503
        assert answer.json["code"] == 14
        assert answer.detail("RequestInfo")["request_id"] == answer.headers["x-request-id"]
    client.mesh.supervisor.start_program("redis")

    def accepted() -> Answer | None:
        answer = client.submit("after Redis came back")
        return answer if answer.status == 200 else None

    task_id = eventually(accepted, ignoring=()).json["task_id"]
    assert client.finished(task_id, seconds=40)["state"] == "TASK_STATE_SUCCEEDED"
