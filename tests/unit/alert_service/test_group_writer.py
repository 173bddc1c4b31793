"""Which reports are written together, with a store that notes what it was given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from alert_service.group_writer import MAX_BYTES, MAX_REPORTS, GroupWriter
from alert_service.report_store import Outcome, StoreFull, WriteResult
from sluice.alert.v1.alert_service_pb2 import Alert, Report


class Store:
    """Takes reports while it is `free`; of some it says that they failed."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.begun = threading.Event()
        self.free = threading.Event()
        self.failures: dict[str, StoreFull | OSError] = {}
        self.error: Exception | None = None

    def write_all(self, reports: Sequence[Report], at_edge: bool) -> list[Outcome]:
        assert not at_edge
        self.groups.append([each.alert.alert_id for each in reports])
        self.begun.set()
        self.free.wait()
        if self.error is not None:
            raise self.error
        return [
            self.failures.get(each.alert.alert_id) or WriteResult(each.alert.alert_id, True)
            for each in reports
        ]


class Scene:
    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self.store = Store()
        self.writer = GroupWriter(self.store, thread)  # type: ignore[arg-type]

    async def first(self) -> asyncio.Task[list[Outcome]]:
        """Begin to write a report, and return when the store has it."""
        task = self.begin("first")
        await asyncio.to_thread(self.store.begun.wait)
        return task

    def begin(self, *names: str, size: int = 0) -> asyncio.Task[list[Outcome]]:
        reports = [Report(alert=Alert(alert_id=name, message="x" * size)) for name in names]
        return asyncio.create_task(self.writer.write(reports))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ThreadPoolExecutor(1) as thread:
        scene = Scene(thread)
        yield scene
        scene.store.free.set()


async def test_what_comes_while_a_report_is_written_is_written_together(scene: Scene) -> None:
    first = await scene.first()
    others = [scene.begin(f"alert-{number}") for number in range(3)]
    together = scene.begin("alert-3", "alert-4")
    await asyncio.sleep(0)
    scene.store.free.set()
    assert await first == [WriteResult("first", True)]
    assert [await each for each in others] == [[WriteResult(f"alert-{n}", True)] for n in range(3)]
    assert await together == [WriteResult("alert-3", True), WriteResult("alert-4", True)]
    assert scene.store.groups == [["first"], [f"alert-{number}" for number in range(5)]]
    # The next one finds nobody at work.
    assert await scene.begin("last") == [WriteResult("last", True)]


async def test_a_group_is_bounded_by_number_and_bytes(scene: Scene) -> None:
    first = await scene.first()
    many = scene.begin(*[f"small-{number}" for number in range(MAX_REPORTS + 1)])
    large = scene.begin("large-0", "large-1", "large-2", size=MAX_BYTES // 2)
    huge = scene.begin("huge-0", "huge-1", size=2 * MAX_BYTES)
    await asyncio.sleep(0)
    scene.store.free.set()
    for each in (first, many, large, huge):
        await each
    small = [f"small-{number}" for number in range(MAX_REPORTS + 1)]
    assert scene.store.groups == [
        ["first"],
        small[:MAX_REPORTS],
        [small[MAX_REPORTS], "large-0"],
        ["large-1"],
        ["large-2"],
        ["huge-0"],
        ["huge-1"],
    ]


async def test_each_gets_what_became_of_its_own_report(scene: Scene) -> None:
    full, failed = StoreFull(), OSError("EIO")
    scene.store.failures = {"alert-1": full, "alert-2": failed}
    scene.store.free.set()
    outcomes = await scene.begin("alert-0", "alert-1", "alert-2", "alert-3")
    assert outcomes == [WriteResult("alert-0", True), full, failed, WriteResult("alert-3", True)]


async def test_a_group_that_fails_keeps_no_later_one_from_being_written(scene: Scene) -> None:
    scene.store.error = OSError("EIO")
    first = await scene.first()
    second = scene.begin("alert-1", "alert-2")
    await asyncio.sleep(0)
    scene.store.free.set()
    assert await first == [scene.store.error]
    assert await second == [scene.store.error, scene.store.error]
    scene.store.error = ValueError("a bug of ours")
    with pytest.raises(ValueError, match="bug"):
        await scene.begin("alert-3")
    scene.store.error = None
    assert await scene.begin("alert-4") == [WriteResult("alert-4", True)]


async def test_a_caller_that_goes_away_takes_no_report_along(scene: Scene) -> None:
    first = await scene.first()
    gone, stays = scene.begin("alert-1"), scene.begin("alert-2")
    await asyncio.sleep(0)
    gone.cancel()
    scene.store.free.set()
    assert await first
    assert await stays == [WriteResult("alert-2", True)]
    assert scene.store.groups == [["first"], ["alert-1", "alert-2"]]
