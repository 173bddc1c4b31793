"""The order of things when a submission is taken in, with fakes for the parts outside."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Value

from ingest_service.gate import Gate
from ingest_service.intake import Intake
from ingest_service.judgement import Judgement
from ingest_service.parts import PART_BYTES
from ingest_service.recorder import Unstored
from ingest_service.submission import Submission
from job_store.errors import QueueFull, QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Entry, Receipt
from mesh.errors import CallError
from mesh.messages import length_delimited_field
from sluice.alert.v1.alert_service_pb2 import Alert, RaiseAlertRequest
from sluice.ingest.v1.ingest_service_pb2 import (
    SubmitBatchRequest,
    SubmitRequest,
    SubmitStreamRequest,
)
from sluice.job.v1.job_pb2 import Interaction, LogInteractions, RequestRecord
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED

JOB = "0" * 26
SSN = "my number is 123-45-6789"


class FakeAlerts:
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.raised: list[RaiseAlertRequest] = []
        self.folded = ""
        self.error: Exception | None = None
        self.release = asyncio.Event()
        self.release.set()

    async def raise_alert(self, make: Callable[[], RaiseAlertRequest]) -> str:
        await self.release.wait()
        if self.error is not None:
            raise self.error
        alert = make()
        self.log.append("alert")
        self.raised.append(alert)
        return alert.alert_id

    async def count_alert(self, alert: RaiseAlertRequest) -> str:
        return self.folded or await self.raise_alert(lambda: alert)

    async def read_alert(self, alert_id: str) -> Alert:
        for each in self.raised:
            if each.alert_id == alert_id:
                return Alert(
                    findings=each.findings, violations=each.violations, detectors=each.detectors
                )
        return Alert()


class FakeRecorder:
    """Stores like Redis does: a request id once, with what it stands for."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.entries: list[Entry] = []
        self.records: dict[tuple[str, bytes], RequestRecord] = {}
        self.errors: list[Unstored | None] = []
        """What becomes of the next entries; None stores one, as does the end of the list."""
        self.lookups = 0
        self.unreadable: Unstored | None = None

    @property
    def recorded(self) -> list[Interaction]:
        return [
            interaction
            for each in self.entries
            for interaction in LogInteractions.FromString(each.piece).interactions
        ]

    def secret_of(self, request: Request) -> bytes:
        return b"secret"

    async def record(self, entries: Sequence[Entry]) -> list[Receipt | Unstored]:
        self.log.append("record")
        return [self._store(entry) for entry in entries]

    async def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | Unstored | None]:
        self.lookups += 1
        if self.unreadable is not None:
            return [self.unreadable] * len(requests)
        return [self.records.get(request[:2]) for request in requests]

    async def close(self) -> None:
        self.log.append("close")

    def _store(self, entry: Entry) -> Receipt | Unstored:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            return error
        request = entry.request
        if request is not None and request[:2] in self.records:
            record = self.records[request[:2]]
            return Receipt(JOB, record.first_index, record)
        first = len(self.recorded)
        self.entries.append(entry)
        if request is not None:
            self.records[request[:2]] = RequestRecord(
                body_hash=request.body_hash,
                job_id=bytes(16),
                first_index=first,
                refusals=request.refusals,
            )
        return Receipt(JOB, first)


class BrokenGate:
    def judge(self, submission: SubmitRequest) -> Judgement:
        raise RuntimeError("CANARY")


class ChangingGate(Gate):
    """Refuses what holds "no" and cannot judge what holds "odd", and can be changed."""

    def __init__(self) -> None:
        super().__init__(None)
        self.no = "no"
        self.odd = "odd"

    def are_clean(self, submissions: Sequence[Submission]) -> bool:
        texts = [each.message.data.string_value for each in submissions]
        return not any(word and word in text for text in texts for word in (self.no, self.odd))

    def judge(self, submission: SubmitRequest) -> Judgement:
        text = submission.data.string_value
        if self.odd and self.odd in text:
            raise RuntimeError("CANARY")
        judged = SubmitRequest()
        judged.CopyFrom(submission)
        if self.no and self.no in text:
            judged.data.string_value = SSN
        return super().judge(judged)


class Scene:
    def __init__(self, gate: Gate | None = None) -> None:
        self.log: list[str] = []
        self.alerts = FakeAlerts(self.log)
        self.recorder = FakeRecorder(self.log)
        self.intake = Intake(gate or Gate(None), self.alerts, self.recorder)  # type: ignore[arg-type]

    async def take(self, *texts: str, request_id: str = "") -> list[str | CallError]:
        return await self.intake.take([submission(text, request_id) for text in texts], lambda: "h")

    async def take_batch(self, *texts: str, request_id: str = "b-1") -> list[str | CallError]:
        return await self.intake.take_batch(batch(*texts, request_id=request_id), lambda: "h")


def submission(text: str, request_id: str = "") -> SubmitRequest:
    made = SubmitRequest(request_id=request_id)
    made.data.string_value = text
    return made


def batch(*texts: str, request_id: str = "b-1") -> SubmitBatchRequest:
    return SubmitBatchRequest(submissions=map(submission, texts), request_id=request_id)


def refused(outcome: str | CallError) -> CallError:
    assert isinstance(outcome, CallError)
    return outcome


def task(index: int) -> str:
    return f"{JOB}-{index}"


def told(outcome: str | CallError) -> object:
    """Return everything of an outcome that a caller sees."""
    if isinstance(outcome, str):
        return outcome
    return outcome.code, outcome.status("").SerializeToString(deterministic=True)


async def test_what_is_accepted_is_recorded_as_it_was_sent() -> None:
    scene = Scene()
    assert await scene.take("fine", "as well") == [task(0), task(1)]
    assert scene.log == ["record"]
    assert [each.data.string_value for each in scene.recorder.recorded] == ["fine", "as well"]


# What belongs to no field: a text, and a group so deep that a job could not be read with it.
UNKNOWN = [
    length_delimited_field(9, SSN.encode()),
    b"\x3b" * 98 + b"\x3c" * 98,
    b"\x3b" * 99 + b"\x3c" * 99,
]


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("place", ["value", "object", "member", "inner", "list"])
async def test_what_belongs_to_no_field_of_the_data_is_not_recorded(
    place: str, unknown: bytes
) -> None:
    text, levels = b"\x1a\x02hi", {"value": 1, "object": 2, "list": 2, "member": 3, "inner": 4}
    if unknown[:1] == b"\x3b":
        unknown = unknown[levels[place] - 1 : len(unknown) - levels[place] + 1]
    member = length_delimited_field(1, b"k") + length_delimited_field(2, text)
    inner = length_delimited_field(1, b"k") + length_delimited_field(2, text + unknown)
    data = {
        "value": text + unknown,
        "object": length_delimited_field(5, length_delimited_field(1, member) + unknown),
        "member": length_delimited_field(5, length_delimited_field(1, member + unknown)),
        "inner": length_delimited_field(5, length_delimited_field(1, inner)),
        "list": length_delimited_field(6, length_delimited_field(1, text) + unknown),
    }[place]
    sent = SubmitRequest.FromString(length_delimited_field(1, data))
    scene = Scene()
    assert await scene.intake.take([sent], lambda: "h") == [task(0)]
    (kept,) = scene.recorder.recorded
    seen = Value()
    seen.CopyFrom(sent.data)
    seen.DiscardUnknownFields()
    assert kept.data.SerializeToString() == seen.SerializeToString()


@pytest.mark.parametrize("unknown", UNKNOWN)
async def test_what_belongs_to_no_field_of_the_data_is_in_no_alert(unknown: bytes) -> None:
    text = length_delimited_field(3, SSN.encode())
    scene = Scene()
    sent = SubmitRequest.FromString(length_delimited_field(1, text + unknown))
    refused(*await scene.intake.take([sent], lambda: "h"))
    (alert,) = scene.alerts.raised
    assert alert.payload.SerializeToString() == text


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
    assert kept.verdict == VERDICT_REJECTED


async def test_one_refusal_does_not_stop_the_others() -> None:
    scene = Scene()
    first, second, third = await scene.take("fine", SSN, "fine too")
    assert (first, third) == (task(0), task(2))
    assert refused(second).code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(scene.alerts.raised) == 1
    assert [each.verdict for each in scene.recorder.recorded] == [
        VERDICT_ACCEPTED,
        VERDICT_REJECTED,
        VERDICT_ACCEPTED,
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(QueueUnavailable(), "QUEUE_UNAVAILABLE"), (QueueFull(), "ALERTS_FULL")],
)
async def test_without_its_alert_a_refusal_is_neither_recorded_nor_final(
    error: Exception, reason: str
) -> None:
    scene = Scene()
    scene.alerts.error = error
    with pytest.raises(CallError) as caught:
        await scene.take(SSN)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, reason)
    assert caught.value.retry_after
    assert scene.recorder.recorded == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QueueUnavailable(), grpc.StatusCode.UNAVAILABLE),
        (QueueFull(), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
@pytest.mark.parametrize("text", ["fine", SSN])
@pytest.mark.parametrize("others", [0, 2])
async def test_what_cannot_be_stored_is_not_promised(
    error: Unstored, code: grpc.StatusCode, text: str, others: int
) -> None:
    scene = Scene()
    scene.recorder.errors = [error] * (1 + others)
    with pytest.raises(CallError) as caught:
        await scene.take(text, *["others"] * others)
    assert caught.value.code is code
    assert caught.value.retry_after


@pytest.mark.parametrize("text", ["fine", SSN])
async def test_what_cannot_be_stored_says_so_beside_what_was(text: str) -> None:
    scene = Scene()
    scene.recorder.errors = [None, QueueFull(), QueueUnavailable(), None]
    texts = ["fine", text, text, "fine"]
    submissions = [submission(each, f"r-{n}") for n, each in enumerate(texts)]
    first, full, unavailable, last = await scene.intake.take(submissions, lambda: "h")
    assert (first, last) == (task(0), task(1))
    assert refused(full).reason == "QUEUE_FULL"
    assert refused(unavailable).reason == "QUEUE_UNAVAILABLE"


async def test_clean_submissions_side_by_side_are_recorded_together() -> None:
    scene = Scene()
    texts = [f"fine {number}" for number in range(250)]
    outcomes = await scene.take(*texts)
    assert [entry.size for entry in scene.recorder.entries] == [100, 100, 50]
    assert [each.data.string_value for each in scene.recorder.recorded] == texts
    assert outcomes == [task(number) for number in range(250)]


async def test_large_submissions_are_recorded_together_only_up_to_a_limit() -> None:
    scene = Scene()
    half, whole = "x " * (PART_BYTES // 5), "x " * (PART_BYTES * 3 // 5)
    outcomes = await scene.take(half, half, half, "fine", whole, whole, half)
    assert [entry.size for entry in scene.recorder.entries] == [2, 2, 1, 1, 1]
    assert outcomes == [task(number) for number in range(7)]


async def test_what_is_refused_or_has_an_id_is_recorded_by_itself() -> None:
    scene = Scene()
    made = [submission(text) for text in ("a", "b", SSN, "c", "d", "e", "f")]
    made[4].request_id = "r-1"
    outcomes = await scene.intake.take(made, lambda: "h")
    assert [entry.size for entry in scene.recorder.entries] == [2, 1, 1, 1, 2]
    assert refused(outcomes.pop(2)).reason == "CONTENT_REFUSED"
    assert outcomes == [task(number) for number in (0, 1, 3, 4, 5, 6)]


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


async def test_a_refusal_that_was_not_stored_raises_the_same_alert_when_it_is_repeated() -> None:
    scene = Scene()
    scene.recorder.errors = [QueueUnavailable()]
    with pytest.raises(CallError):
        await scene.take(SSN, request_id="r-1")
    await scene.take(SSN, request_id="r-1")
    await scene.take(SSN, request_id="r-2")
    await scene.take(SSN)
    await scene.take(SSN)
    first, again, another, unnamed, unnamed_again = [each.alert_id for each in scene.alerts.raised]
    assert first == again
    assert len({first, another, unnamed, unnamed_again}) == 4


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("before", ["yes", "no"])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_verdict_is_never_replayed_as_another(size: int, before: str, lost: bool) -> None:
    """`lost`: the report of the alert is not kept any more, so the fields are not either."""
    gate = ChangingGate()
    gate.odd = ""
    scene = Scene(gate)
    texts = ["say yes or no", *["other"] * (size - 1)]

    async def call() -> list[str | CallError]:
        if size == 1:
            return await scene.take(*texts, request_id="r-1")
        return await scene.take_batch(*texts)

    gate.no = "yes or no" if before == "no" else ""
    first = await call()
    raised = list(scene.alerts.raised)
    if lost:
        scene.alerts.raised.clear()
    gate.no = "" if before == "no" else "yes or no"
    again = await call()
    if lost and before == "no":
        assert refused(again[0]).metadata["alert_id"] == raised[0].alert_id
        assert refused(again[0]).reason == refused(first[0]).reason
        assert not refused(again[0]).fields
        again[0] = first[0]
    assert [told(each) for each in again] == [told(each) for each in first]
    assert isinstance(first[0], CallError) is (before == "no")
    assert len(scene.recorder.recorded) == size
    assert scene.alerts.raised == ([] if lost else raised)


@pytest.mark.parametrize("as_batch", [False, True])
@pytest.mark.parametrize("was_sensitive", [False, True])
@pytest.mark.parametrize("texts", [["fine"], ["fine", SSN, "as well"]])
async def test_an_id_that_the_policy_sees_differently_by_now_stands_for_what_it_did(
    as_batch: bool, was_sensitive: bool, texts: list[str], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\npatterns: [{name: order_id, pattern: 'ORD-[0-9]{6}'}]\n")
    relaxed, strict = Gate(None), Gate(policy)
    scene = Scene(strict if was_sensitive else relaxed)

    async def call(text: str = "") -> list[str | CallError]:
        if as_batch:
            try:
                return await scene.take_batch(*texts, *text, request_id="ORD-123456")
            except CallError as error:
                return [error]
        return await scene.take(texts[0] + text, request_id="ORD-123456")

    first = await call()
    kept, raised = list(scene.recorder.recorded), list(scene.alerts.raised)
    scene.intake._judge._gate = relaxed if was_sensitive else strict
    assert [told(each) for each in await call()] == [told(each) for each in first]
    assert refused((await call("!"))[0]).reason == "REQUEST_ID_REUSED"
    assert (scene.recorder.recorded, scene.alerts.raised) == (kept, raised)
    if was_sensitive:
        assert [each.path for each in refused(first[0]).fields] == ["/request_id"]
        assert "ORD-123456" not in f"{kept}{scene.alerts.raised}"


@pytest.mark.parametrize("as_batch", [False, True])
async def test_an_id_that_looks_sensitive_is_not_judged_before_it_was_looked_up(
    as_batch: bool,
) -> None:
    scene = Scene()
    scene.recorder.unreadable = QueueUnavailable()
    with pytest.raises(CallError) as caught:
        if as_batch:
            await scene.take_batch("fine", request_id="a@example.com")
        else:
            await scene.take("fine", request_id="a@example.com")
    assert caught.value.reason == "QUEUE_UNAVAILABLE"
    assert scene.alerts.raised == []


@pytest.mark.parametrize("size", [1, 3])
async def test_what_is_recorded_is_answered_also_when_detection_fails_by_then(size: int) -> None:
    gate = ChangingGate()
    gate.odd = gate.no = ""
    scene = Scene(gate)
    texts = ["an odd text", *["other"] * (size - 1)]
    first = await (scene.take_batch(*texts) if size > 1 else scene.take(*texts, request_id="r"))
    gate.odd = "odd"
    again = await (scene.take_batch(*texts) if size > 1 else scene.take(*texts, request_id="r"))
    assert again == first == [task(number) for number in range(size)]


async def test_a_refusal_with_too_many_findings_to_list_is_replayed_as_it_was() -> None:
    made = SubmitRequest(request_id="r-1")
    many: list[Any] = [{f"{number:02}" + "k" * 900: "4111 1111 1111 1111"} for number in range(30)]
    texts = made.data.list_value
    texts.extend(many)
    texts.extend([SSN, "AKIAQYLPMN5HFIQR7XYA"])
    scene = Scene()
    (first,), (again,) = [await scene.intake.take([made], lambda: "h") for _ in range(2)]
    assert told(again) == told(first)
    assert refused(first).metadata["detectors"] == "payment_card,us_ssn,aws_key"
    (alert,) = scene.alerts.raised
    assert alert.cut
    # As an earlier version kept it.
    del alert.detectors[:]
    (again,) = await scene.intake.take([made], lambda: "h")
    assert refused(again).metadata["detectors"] == "payment_card"


async def test_a_refused_shape_is_replayed_with_its_fields() -> None:
    scene = Scene()
    (first,) = await scene.take("\0", request_id="r-1")
    (again,) = await scene.take("\0", request_id="r-1")
    assert told(again) == told(first)
    assert refused(first).reason == "INVALID_INPUT"
    assert len(scene.alerts.raised) == 1


async def test_a_policy_that_changes_between_two_at_once_gives_both_one_answer() -> None:
    gate = ChangingGate()
    scene = Scene(gate)
    scene.alerts.release.clear()
    slow = asyncio.create_task(scene.take("no", request_id="r-1"))
    await asyncio.sleep(0.01)
    gate.no = ""
    (quick,) = await scene.take("no", request_id="r-1")
    scene.alerts.release.set()
    assert await slow == [quick] == [task(0)]
    assert len(scene.recorder.recorded) == 1


@pytest.mark.parametrize("text", ["fine", SSN])
@pytest.mark.parametrize("together", [False, True])
async def test_a_request_id_with_another_body_is_told_and_raises_no_alert(
    text: str, together: bool
) -> None:
    scene = Scene()
    if together:
        _, outcome = await scene.take("another", text, request_id="r-1")
    else:
        await scene.take("another", request_id="r-1")
        (outcome,) = await scene.take(text, request_id="r-1")
    assert refused(outcome).code is grpc.StatusCode.ALREADY_EXISTS
    assert scene.alerts.raised == []
    assert len(scene.recorder.recorded) == 1


@pytest.mark.parametrize("text", ["fine", SSN])
async def test_the_same_id_and_body_twice_in_a_call_are_one_interaction(text: str) -> None:
    scene = Scene()
    first, again = await scene.take(text, text, request_id="r-1")
    assert told(first) == told(again)
    assert len(scene.recorder.recorded) == 1
    assert len(scene.alerts.raised) == (text == SSN)


async def test_without_a_refusal_nothing_is_looked_up() -> None:
    scene = Scene()
    await scene.take("fine", request_id="r-1")
    await scene.take(SSN)
    await scene.take_batch("fine")
    assert scene.recorder.lookups == 0


@pytest.mark.parametrize("error", [QueueUnavailable(), QueueFull()])
async def test_what_cannot_be_looked_up_raises_no_alert_and_stops_no_other(
    error: Unstored,
) -> None:
    scene = Scene()
    scene.recorder.unreadable = error
    with pytest.raises(CallError) as caught:
        await scene.take(SSN, request_id="r-1")
    assert caught.value.reason == "QUEUE_UNAVAILABLE"
    named = [submission("fine"), submission(SSN, "r-1"), submission("fine", "r-2")]
    first, failed, last = await scene.intake.take(named, lambda: "h")
    assert (first, last) == (task(0), task(1))
    assert refused(failed).reason == "QUEUE_UNAVAILABLE"
    assert scene.alerts.raised == []


async def test_a_batch_in_one_part_is_one_commit() -> None:
    scene = Scene()
    await scene.take_batch("a", "b")
    assert scene.log == ["record"]


async def test_a_batch_is_recorded_under_one_id() -> None:
    scene = Scene()
    first = await scene.take_batch("a", SSN, "c")
    again = await scene.take_batch("a", SSN, "c")
    assert [told(each) for each in again] == [told(each) for each in first]
    assert (first[0], first[2]) == (task(0), task(2))
    assert len(scene.recorder.entries) == len(scene.recorder.records) == 1
    assert len(scene.alerts.raised) == 1
    assert {each.request_id for each in scene.recorder.recorded} == {"b-1"}
    piece = SubmitStreamRequest(submissions=batch("a", SSN, "c").submissions, request_id="b-1")
    on_a_stream = await scene.intake.take_batch(piece, lambda: "h")
    assert [told(each) for each in on_a_stream] == [told(each) for each in first]


@pytest.mark.parametrize("text", ["b", SSN])
async def test_another_batch_under_an_id_is_told_and_raises_no_alert(text: str) -> None:
    scene = Scene()
    await scene.take_batch("a")
    with pytest.raises(CallError) as caught:
        await scene.take_batch(text)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert scene.alerts.raised == []


@pytest.mark.parametrize("text", ["fine", SSN])
async def test_no_part_of_another_batch_is_stored_or_alerted(text: str) -> None:
    scene = Scene()
    await scene.take_batch("a")
    long = "x " * (PART_BYTES // 3)
    with pytest.raises(CallError) as caught:
        await scene.take_batch(long, long, long + text)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert scene.alerts.raised == []
    assert len(scene.recorder.recorded) == 1


@pytest.mark.parametrize("error", [QueueUnavailable(), QueueFull()])
async def test_without_its_first_part_nothing_of_a_batch_is_stored(error: Unstored) -> None:
    scene = Scene()
    scene.recorder.errors = [error]
    long = "x " * (PART_BYTES // 3)
    with pytest.raises(CallError):
        await scene.take_batch(long, long + SSN)
    assert scene.recorder.recorded == []
    assert scene.alerts.raised == []
    gate = ChangingGate()
    scene = Scene(gate)
    odd, other = await scene.take_batch("odd" + long, "no" + long)
    assert refused(odd).reason == "DETECTION_FAILED"
    assert refused(other).reason == "HELD_BACK"
    assert scene.log == []
    gate.odd = ""
    assert (await scene.take_batch("odd" + long, "no" + long))[0] == task(0)


async def test_a_batch_of_which_a_part_was_stored_is_completed_by_a_repeat() -> None:
    gate = ChangingGate()
    gate.odd = ""
    scene = Scene(gate)
    long = "x" * (PART_BYTES * 2 // 3)
    texts = [long, "no" + long, long]
    scene.recorder.errors = [None, QueueFull(), None]
    first = await scene.take_batch(*texts)
    assert (first[0], refused(first[1]).reason, first[2]) == (task(0), "QUEUE_FULL", task(1))
    gate.no = ""
    again = await scene.take_batch(*texts)
    assert again == [task(0), task(2), task(1)]
    assert len(scene.recorder.recorded) == 3


async def test_a_part_of_a_batch_is_recorded_whole_or_not_at_all() -> None:
    gate = ChangingGate()
    scene = Scene(gate)
    one, odd, other = await scene.take_batch("one", "odd", "no")
    assert refused(odd).reason == "DETECTION_FAILED"
    assert refused(one).reason == refused(other).reason == "HELD_BACK"
    assert scene.recorder.recorded == []
    gate.odd = ""
    again = await scene.take_batch("one", "odd", "no")
    assert again[:2] == [task(0), task(1)]
    assert len({each.alert_id for each in scene.alerts.raised}) == 1


@pytest.mark.parametrize(
    ("made", "path", "rule"),
    [
        (batch(), "/submissions", "BAD_COUNT"),
        (batch(*["x"] * 5001), "/submissions", "BAD_COUNT"),
        (batch("x", request_id="not valid"), "/request_id", "BAD_NAME"),
        (batch("x", request_id="a@example.com"), "/request_id", "SENSITIVE"),
        (
            SubmitBatchRequest(submissions=[submission("x"), submission("y", "r")], request_id="b"),
            "/submissions/1/request_id",
            "TWO_IDS",
        ),
    ],
)
async def test_a_batch_that_breaks_a_rule_is_refused_whole(
    made: SubmitBatchRequest, path: str, rule: str
) -> None:
    scene = Scene()
    with pytest.raises(CallError) as caught:
        await scene.intake.take_batch(made, lambda: "h")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(each.path, each.reason) for each in caught.value.fields] == [(path, rule)]
    (alert,), (kept,) = scene.alerts.raised, scene.recorder.recorded
    assert caught.value.metadata["alert_id"] == alert.alert_id == kept.alert_id
    assert kept.data.string_value == "[withheld]"
    assert "example" not in str(alert)


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
