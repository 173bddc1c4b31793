"""The order of things when a submission is taken in, with fakes for the parts outside."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest

from ingest_service.gate import Gate, Judgement
from ingest_service.intake import Intake
from ingest_service.jobs import QueueFull, QueueUnavailable, Receipt
from ingest_service.recorder import Decided, body_hash
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.job.v1.job_pb2 import RequestRecord

SSN = "my number is 123-45-6789"


class FakeAlerts:
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.raised: list[RaiseAlertRequest] = []
        self.folded = ""
        self.error: Exception | None = None
        self.release = asyncio.Event()
        self.release.set()

    async def raise_alert(self, alert: RaiseAlertRequest) -> str:
        await self.release.wait()
        if self.error is not None:
            raise self.error
        self.log.append("alert")
        self.raised.append(alert)
        return self.folded or alert.alert_id


class FakeRecorder:
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.recorded: list[Decided] = []
        self.error: Exception | None = None
        self.earlier: RequestRecord | None = None

    async def record(self, decided: Sequence[Decided]) -> list[Receipt]:
        if self.error is not None:
            raise self.error
        self.log.append("record")
        self.recorded += decided
        return [Receipt(f"task-{index}", self.earlier) for index, _ in enumerate(decided)]

    async def close(self) -> None:
        self.log.append("close")


class BrokenGate:
    def judge(self, submission: SubmitRequest) -> Judgement:
        raise RuntimeError("CANARY")


class Scene:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.alerts = FakeAlerts(self.log)
        self.recorder = FakeRecorder(self.log)
        self.intake = Intake(Gate(None), self.alerts, self.recorder)  # type: ignore[arg-type]

    async def take(self, *texts: str, request_id: str = "") -> list[str | CallError]:
        return await self.intake.take([submission(text, request_id) for text in texts], lambda: "h")


def submission(text: str, request_id: str = "") -> SubmitRequest:
    made = SubmitRequest(request_id=request_id)
    made.data.string_value = text
    return made


def refused(outcome: str | CallError) -> CallError:
    assert isinstance(outcome, CallError)
    return outcome


async def test_what_is_accepted_is_recorded_as_it_was_sent() -> None:
    scene = Scene()
    assert await scene.take("fine", "as well") == ["task-0", "task-1"]
    assert scene.log == ["record"]
    assert [each.data.string_value for each in scene.recorder.recorded] == ["fine", "as well"]


async def test_the_alert_comes_before_the_record_and_the_record_before_the_answer() -> None:
    scene = Scene()
    (outcome,) = await scene.take(SSN)
    assert scene.log == ["alert", "record"]
    assert refused(outcome).reason == "CONTENT_REFUSED"
    (alert,), (kept,) = scene.alerts.raised, scene.recorder.recorded
    assert refused(outcome).metadata["alert_id"] == alert.alert_id == kept.alert_id
    assert alert.payload.string_value == SSN
    assert alert.http_request_id == "h"
    assert "123-45-6789" not in kept.data.string_value


async def test_one_refusal_does_not_stop_the_others() -> None:
    scene = Scene()
    first, second, third = await scene.take("fine", SSN, "fine too")
    assert (first, third) == ("task-0", "task-2")
    assert refused(second).code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(scene.alerts.raised) == 1


@pytest.mark.parametrize("error", [QueueUnavailable(), QueueFull()])
async def test_without_its_alert_a_refusal_is_neither_recorded_nor_final(error: Exception) -> None:
    scene = Scene()
    scene.alerts.error = error
    (outcome,) = await scene.take(SSN)
    assert refused(outcome).code is grpc.StatusCode.UNAVAILABLE
    assert scene.recorder.recorded == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QueueUnavailable(), grpc.StatusCode.UNAVAILABLE),
        (QueueFull(), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
@pytest.mark.parametrize("text", ["fine", SSN])
async def test_what_cannot_be_stored_is_not_promised(
    error: Exception, code: grpc.StatusCode, text: str
) -> None:
    scene = Scene()
    scene.recorder.error = error
    with pytest.raises(CallError) as caught:
        await scene.take(text)
    assert caught.value.code is code
    assert caught.value.retry_after


async def test_detection_that_fails_lets_nothing_pass() -> None:
    scene = Scene()
    intake = Intake(BrokenGate(), scene.alerts, scene.recorder)  # type: ignore[arg-type]
    (outcome,) = await intake.take([submission("fine")], lambda: "h")
    assert refused(outcome).reason == "DETECTION_FAILED"
    assert "CANARY" not in refused(outcome).message
    assert scene.log == []


async def test_a_caller_that_goes_away_changes_nothing() -> None:
    scene = Scene()
    scene.alerts.release.clear()
    call = asyncio.create_task(scene.take(SSN))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    scene.alerts.release.set()
    await scene.intake.close()
    assert scene.log == ["alert", "record", "close"]


async def test_a_repeated_refusal_raises_the_same_alert() -> None:
    scene = Scene()
    await scene.take(SSN, request_id="r-1")
    await scene.take(SSN, request_id="r-1")
    await scene.take(SSN + "!", request_id="r-1")
    await scene.take(SSN)
    await scene.take(SSN)
    first, again, another, unnamed, unnamed_again = [each.alert_id for each in scene.alerts.raised]
    assert first == again
    assert len({first, another, unnamed, unnamed_again}) == 4


@pytest.mark.parametrize("text", ["fine", SSN])
async def test_a_request_id_with_another_body_is_told(text: str) -> None:
    scene = Scene()
    scene.recorder.earlier = RequestRecord(body_hash=b"another", task_id="task-9")
    (outcome,) = await scene.take(text, request_id="r-1")
    assert refused(outcome).code is grpc.StatusCode.ALREADY_EXISTS


async def test_a_request_id_with_the_same_body_gives_the_same_task() -> None:
    scene = Scene()
    scene.recorder.earlier = RequestRecord(
        body_hash=body_hash(submission("fine", "r-1")), task_id="task-9"
    )
    assert await scene.take("fine", request_id="r-1") == ["task-9"]


async def test_what_breaks_a_rule_of_shape_is_kept_out_of_the_record() -> None:
    scene = Scene()
    (outcome,) = await scene.intake.take([submission("CANARY\0", "not valid")], lambda: "h")
    assert refused(outcome).reason == "INVALID_INPUT"
    (kept,) = scene.recorder.recorded
    assert kept.data.string_value == "[withheld]"
    assert kept.request_id == ""
    assert scene.alerts.raised[0].request_id == ""
    assert scene.alerts.raised[0].payload.string_value == "CANARY\0"


async def test_an_undecodable_request_is_alerted_and_recorded() -> None:
    scene = Scene()
    await scene.intake.refuse_undecodable("h")
    assert scene.log == ["alert", "record"]
    assert scene.alerts.raised[0].event_type == "INVALID_INPUT"
    assert scene.recorder.recorded[0].alert_id == scene.alerts.raised[0].alert_id
