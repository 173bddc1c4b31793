"""What the recorder writes of a submission, and how entries become jobs."""

from collections.abc import Sequence

import pytest
from google.protobuf.struct_pb2 import Value

from ingest_service.named_fields import REQUEST_ID, SOURCE
from ingest_service.recorder import Recorder, interaction
from job_store.errors import QueueFull, QueueUnavailable
from job_store.request_ids import Request
from job_store.store import Entry, Receipt
from mesh.group_commit import Room
from sluice.job.v1.job_pb2 import LogInteractions, RequestRecord


class FakeJobs:
    """Stores jobs until it fails."""

    def __init__(self, *failures: Exception | None) -> None:
        self.failures = list(failures)
        self.jobs: list[Sequence[Entry]] = []

    def commit(self, entries: Sequence[Entry]) -> list[Receipt]:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.jobs.append(entries)
        return [Receipt(f"job-{len(self.jobs)}", number) for number, _ in enumerate(entries)]

    def look_up(self, requests: Sequence[Request]) -> list[RequestRecord | None]:
        return [RequestRecord(body_hash=each.body_hash) for each in requests]


def recorder(jobs: FakeJobs, waiting: int = 10**6) -> Recorder:
    return Recorder(jobs, max_items=5000, max_bytes=1000, room=Room(waiting, QueueFull))  # type: ignore[arg-type]


def made(size: int) -> Entry:
    data = Value(string_value="x" * size).SerializeToString()
    return Entry(interaction(data, [(SOURCE, "web")]))


@pytest.mark.parametrize("failure", [QueueUnavailable(), QueueFull()])
async def test_a_job_that_is_not_stored_takes_no_receipt_from_the_others(
    failure: Exception,
) -> None:
    jobs = FakeJobs(None, failure)
    recording = recorder(jobs)
    first, second, third = await recording.record([made(800), made(800), made(800)])
    assert first == Receipt("job-1", 0)
    # What waits behind a failed batch fails with it, so that nobody waits for the same failure.
    assert second is third is failure
    assert await recording.record([made(1)]) == [Receipt("job-2", 0)]
    await recording.close()


async def test_what_there_is_no_room_for_takes_no_receipt_from_the_others() -> None:
    jobs = FakeJobs()
    recording = recorder(jobs, waiting=1000)
    results = await recording.record([made(800), made(800), made(800)])
    assert results[0] == Receipt("job-1", 0)
    assert any(isinstance(each, QueueFull) for each in results)
    await recording.close()


async def test_an_entry_is_stored_whole_with_all_its_interactions() -> None:
    jobs = FakeJobs()
    recording = recorder(jobs)
    values = [Value(string_value="x" * 700), Value(number_value=2.0)]
    named = [(SOURCE, "web"), (REQUEST_ID, "r")]
    pieces = [
        interaction(value.SerializeToString(), named, "a" * number)
        for number, value in enumerate(values)
    ]
    await recording.record([Entry(b"".join(pieces), 2), made(800)])
    await recording.close()
    assert [[each.size for each in job] for job in jobs.jobs] == [[2], [1]]
    stored = LogInteractions.FromString(jobs.jobs[0][0].piece).interactions
    assert [each.data for each in stored] == values
    assert [each.alert_id for each in stored] == ["", "a"]
    assert {each.request_id for each in stored} == {"r"}


async def test_a_job_answers_few_request_ids_and_carries_many_interactions() -> None:
    jobs = FakeJobs()
    recording = Recorder(jobs, max_items=5000, max_bytes=10**6, room=Room(10**7, QueueFull))  # type: ignore[arg-type]
    piece = interaction(Value(bool_value=True).SerializeToString())
    named = [Entry(piece, request=Request.of(str(n), b"")) for n in range(1000)]
    await recording.record([*named, *[Entry(piece)] * 5000])
    await recording.close()
    sizes = [len(job) for job in jobs.jobs]
    assert sum(sizes) == 6000
    assert len(sizes) <= 12
    assert max(sum(each.request is not None for each in job) for job in jobs.jobs) <= 100


async def test_lookups_come_back_in_order() -> None:
    recording = recorder(FakeJobs())
    requests = [Request.of(f"r-{number}", b"%d" % number) for number in range(1000)]
    found = await recording.look_up(requests)
    hashes = [each.body_hash for each in found if isinstance(each, RequestRecord)]
    assert hashes == [each.body_hash for each in requests]
    await recording.close()


@pytest.mark.parametrize("widely", [False, True])
def test_what_is_masked_widely_says_so(widely: bool) -> None:
    data = Value(string_value="*").SerializeToString()
    piece = interaction(data, alert_id="alert", masked_widely=widely)
    (stored,) = LogInteractions.FromString(piece).interactions
    assert stored.masked_widely is widely
    assert stored.data.string_value == "*"
