"""What is made of a submission is bounded by its size, however it was made up."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from ingest_service.gate import Gate
from mesh.errors import CallError
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from tests.unit.ingest_service.test_leaks import Scene

MAX_LISTS_BYTES = 64 * 1024
MAX_STATUS_BYTES = 8 * 1024


def under(keys: list[str], data: Any) -> Any:
    for key in reversed(keys):
        data = {key: data}
    return data


LONG = ["k" * 1_000, "机" * 1_000, "~/" * 500, "\x01" * 1_000]


def bodies(size: int) -> dict[str, Any]:
    """Return what makes long lists, many findings or both, for its size; 1,000 is as it may be."""
    return {
        "addresses under a long path": under(LONG, ["a@b.co"] * 9 * size),
        "address keys under a long path": under(
            LONG[:3], {f"a{n}@b.co": 1 for n in range(4 * size)}
        ),
        "many addresses in a text": under(LONG, "a@b.co " * 20 * size),
        "keywords in keys": under(LONG, [{"ssn": 1}] * 4 * size),
        "private addresses": under(LONG, ["10.1.2.3"] * 9 * size),
        "all of them": under(
            LONG[:2],
            ["10.1.2.3 a@b.co 536-22-5587 4539148803436467 top secret", {"a@b.co": "ssn"}]
            * (2 * size),
        ),
        "numbers": [4539148803436467] * (10 * size - 1),
        "short keys that are findings": {f"{n}@b.co": "" for n in range(9 * size)},
        "not ASCII": under(LONG, "é a@b.co " * 15 * size),
        "broken and full of findings": under(LONG, ["a@b.co", 2**60] * 4 * size),
    }


BODIES = bodies(1_000)
SMALLER_BODIES = bodies(100)


def scene_with(folder: Path, action: str) -> Scene:
    path = folder / "policy.yaml"
    path.write_text(
        f"action: {action}\nkeywords: [ssn, top secret]\nallow: {{paths: [/data/*/nowhere/**]}}\n"
        "detectors: {phone: {shadow: true}}"
    )
    return Scene(Gate(path))


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < limit, peak


@pytest.mark.parametrize("action", ["reject", "redact", "tag"])
@pytest.mark.parametrize("name", BODIES)
async def test_what_is_told_and_kept_is_bounded(tmp_path: Path, name: str, action: str) -> None:
    submission = json_format.ParseDict({"data": BODIES[name], "source": "web"}, SubmitRequest())
    size = submission.ByteSize()
    scene = scene_with(tmp_path, action)
    (outcome,) = await scene.intake.take([submission], lambda: "h" * 36)
    (record,) = scene.recorder.recorded
    assert record.data.ByteSize() < 1.5 * size + 100_000
    if action != "reject" and "broken" not in name:
        assert isinstance(outcome, str)
        as_sent = action == "tag" or name == "keywords in keys"  # these name fields
        assert (record.data == submission.data) is as_sent
        assert record.source == "web"
        assert not record.masked_widely or name == "all of them"
        return
    assert isinstance(outcome, CallError)
    assert outcome.status("h" * 36).ByteSize() < MAX_STATUS_BYTES
    (alert,) = scene.alerts.raised
    assert alert.ByteSize() - size < MAX_LISTS_BYTES
    assert alert.cut
    assert alert.finding_count >= 256 or alert.violation_count > 256
    assert alert.findings
    assert alert.source == record.source == "web"


def test_of_what_was_judged_little_is_held() -> None:
    gate = Gate(None)
    body = {"data": [*range(5_000), "536-22-5587"], "source": "web"}
    submission = json_format.ParseDict(body, SubmitRequest())
    gate.judge(submission)
    tracemalloc.start()
    judgements = [gate.judge(submission) for _ in range(20)]
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(each.refusal for each in judgements)
    assert held < 20 * 10_000


@pytest.mark.parametrize("action", ["reject", "redact", "tag"])
@pytest.mark.parametrize("name", SMALLER_BODIES)
async def test_the_memory_it_takes_is_bounded(tmp_path: Path, name: str, action: str) -> None:
    """By smaller bodies, as Python is many times slower while it traces memory."""
    submission = json_format.ParseDict({"data": SMALLER_BODIES[name]}, SubmitRequest())
    scene = scene_with(tmp_path, action)
    # A path that is told for each finding would take more.
    with memory_below(40 * submission.ByteSize() + 2_000_000):
        await scene.intake.take([submission], lambda: "h" * 36)
    assert scene.recorder.recorded


async def test_a_list_that_is_whole_needs_no_count() -> None:
    scene = Scene()
    submission = json_format.ParseDict({"data": ["a@b.co"] * 200}, SubmitRequest())
    await scene.intake.take([submission], lambda: "h")
    (alert,), (record,) = scene.alerts.raised, scene.recorder.recorded
    assert (len(alert.findings), alert.finding_count, alert.cut) == (200, 0, False)
    assert not record.masked_widely


async def test_the_finding_that_refuses_is_told_among_many_that_do_not() -> None:
    scene = Scene()
    data = ["10.1.2.3"] * 4_000 + ["a@b.co"] + ["10.1.2.3"] * 4_000
    submission = json_format.ParseDict({"data": data}, SubmitRequest())
    (outcome,) = await scene.intake.take([submission], lambda: "h")
    assert isinstance(outcome, CallError)
    assert [field.path for field in outcome.fields] == ["/data/4000"]
    (alert,), (record,) = scene.alerts.raised, scene.recorder.recorded
    assert (alert.finding_count, alert.cut) == (8_001, True)
    assert list(record.detectors) == ["private_ip_address", "email"]
    assert not record.masked_widely
