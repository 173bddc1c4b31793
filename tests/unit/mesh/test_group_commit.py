import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from mesh.group_commit import GroupCommit, Room


class Full(Exception):
    pass


@dataclass(frozen=True)
class Item:
    name: str
    items: int = 1
    bytes: int = 1


class Sender:
    """Sends batches when told to, and remembers them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_send = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def send(self, items: Sequence[Item]) -> list[str]:
        await self.may_send.acquire()
        self.batches.append([item.name for item in items])
        if self.error is not None:
            raise self.error
        return [item.name.upper() for item in items]

    def release(self, batches: int = 1) -> None:
        for _ in range(batches):
            self.may_send.release()


def group_commit(sender: Sender, linger: float = 0.0, **bounds: int) -> GroupCommit[Item, str]:
    limits = {"max_items": 100, "max_bytes": 100} | bounds
    room = Room(limits.pop("room", 1000), Full)
    return GroupCommit(sender.send, fails_all=True, linger_seconds=linger, room=room, **limits)


async def test_what_arrives_while_a_batch_is_in_flight_goes_in_the_next_one() -> None:
    sender = Sender()
    commit = group_commit(sender)
    first = commit(Item("a"))
    await asyncio.sleep(0)  # lets the first batch go
    others = [commit(Item(name)) for name in "bcd"]
    sender.release(2)
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]
    assert sender.batches == [["a"], ["b", "c", "d"]]
    await commit.close()


async def test_after_a_batch_of_several_the_next_one_waits_for_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.group_commit.MAX_LINGER_SECONDS", 60.0)
    sender = Sender()
    sender.release(3)
    commit = group_commit(sender, linger=60.0)
    await asyncio.gather(*[commit(Item(name)) for name in "abc"])
    first, second = commit(Item("d")), commit(Item("e"))
    await asyncio.sleep(0)
    third = commit(Item("f"))
    assert [await answer for answer in (first, second, third)] == ["D", "E", "F"]
    assert sender.batches == [["a", "b", "c"], ["d", "e", "f"]]
    await commit.close()


async def test_callers_in_two_groups_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.group_commit.MAX_LINGER_SECONDS", 60.0)
    sender = Sender()
    commit = group_commit(sender, linger=60.0)
    first = commit(Item("a"))
    await asyncio.sleep(0)  # lets the first batch go
    second = commit(Item("b"))
    sender.release(2)
    await first
    assert not second.done()
    again = commit(Item("c"))
    assert [await second, await again] == ["B", "C"]
    assert sender.batches == [["a"], ["b", "c"]]
    await commit.close()


@pytest.mark.parametrize("bounds", [{"max_items": 2}, {"max_bytes": 2}])
async def test_a_full_batch_waits_for_nobody(
    bounds: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.group_commit.MAX_LINGER_SECONDS", 60.0)
    sender = Sender()
    sender.release(3)
    commit = group_commit(sender, linger=60.0, **bounds)
    answers = [commit(Item(name)) for name in "abcdef"]
    assert [await answer for answer in answers] == ["A", "B", "C", "D", "E", "F"]
    assert sender.batches == [["a", "b"], ["c", "d"], ["e", "f"]]
    await commit.close()


async def test_a_batch_does_not_linger_for_long() -> None:
    sender = Sender()
    sender.release(2)
    commit = group_commit(sender, linger=0.001)
    await asyncio.gather(*[commit(Item(name)) for name in "abc"])
    assert await commit(Item("d")) == "D"
    await commit.close()


@pytest.mark.parametrize("bounds", [{"max_items": 2}, {"max_bytes": 2}])
async def test_a_batch_has_no_more_than_its_bounds(bounds: dict[str, int]) -> None:
    sender = Sender()
    commit = group_commit(sender, **bounds)
    answers = [commit(Item(name)) for name in "abcde"]
    sender.release(3)
    await asyncio.gather(*answers)
    assert sender.batches == [["a", "b"], ["c", "d"], ["e"]]
    await commit.close()


async def test_a_request_beyond_the_bounds_goes_alone() -> None:
    sender = Sender()
    commit = group_commit(sender, max_bytes=2)
    answers = [commit(Item("large", bytes=50)), commit(Item("small"))]
    sender.release(2)
    await asyncio.gather(*answers)
    assert sender.batches == [["large"], ["small"]]
    await commit.close()


async def test_a_failed_batch_fails_what_waits_behind_it_and_nothing_later() -> None:
    sender = Sender()
    commit = group_commit(sender, max_items=2, room=3)
    sender.error = ConnectionError()
    failing = [commit(Item(name)) for name in "abc"]
    sender.release()
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert sender.batches == [["a", "b"]]
    sender.error = None
    following = commit(Item("c"))
    sender.release()
    assert await following == "C"
    await commit.close()


async def test_a_failed_batch_may_spare_what_waits_behind_it() -> None:
    sender = Sender()
    commit: GroupCommit[Item, str] = GroupCommit(
        sender.send, max_items=2, max_bytes=9, fails_all=False
    )
    sender.error = ConnectionError()
    answers = [commit(Item(name)) for name in "abc"]
    sender.release()
    results = await asyncio.gather(*answers[:2], return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 2
    sender.error = None
    sender.release()
    assert await answers[2] == "C"


@pytest.mark.parametrize("answers", [[], ["A"], ["A", "B", "C"]])
async def test_answers_to_more_or_fewer_than_were_asked_leave_nobody_waiting(
    answers: list[str],
) -> None:
    async def send(items: Sequence[Item]) -> list[str]:
        return answers if len(items) == 2 else ["LATER"]

    commit: GroupCommit[Item, str] = GroupCommit(send, max_items=9, max_bytes=9, fails_all=False)
    results = await asyncio.gather(commit(Item("a")), commit(Item("b")), return_exceptions=True)
    assert [*map(type, results)] == [ValueError, ValueError]
    assert await commit(Item("c")) == "LATER"


@pytest.mark.parametrize("fails_all", [False, True])
async def test_a_call_that_is_cancelled_leaves_nobody_waiting(fails_all: bool) -> None:
    is_cancelled = True

    async def send(items: Sequence[Item]) -> list[str]:
        if is_cancelled:
            raise asyncio.CancelledError
        return [item.name for item in items]

    commit: GroupCommit[Item, str] = GroupCommit(
        send, max_items=2, max_bytes=9, fails_all=fails_all
    )
    results = await asyncio.gather(*[commit(Item(name)) for name in "abc"], return_exceptions=True)
    assert [*map(type, results)] == [asyncio.CancelledError] * 3
    is_cancelled = False
    assert await commit(Item("d")) == "d"


@dataclass
class Made:
    """A request that is made when its size is asked for."""

    made: list[str]
    name: str
    items: int = 1

    @property
    def bytes(self) -> int:
        self.made.append(self.name)
        return 1


async def test_without_a_room_a_request_is_made_when_its_turn_has_come() -> None:
    sender = Sender()
    commit: GroupCommit[Made, str] = GroupCommit(
        sender.send,  # type: ignore[arg-type]
        max_items=2,
        max_bytes=9,
        fails_all=False,
    )
    made: list[str] = []
    answers = [commit(Made(made, name)) for name in "abcde"]
    assert made == []
    for batch, sent in enumerate(["ab", "abcd", "abcde"]):
        await until(lambda: len(made) >= len(sent))  # noqa: B023
        assert "".join(made) == sent
        assert len(sender.batches) == batch
        sender.release()
    assert await asyncio.gather(*answers) == [*"ABCDE"]
    assert "".join(made) == "abcde"


async def test_a_caller_that_goes_away_leaves_the_batch_as_it_was() -> None:
    sender = Sender()
    commit = group_commit(sender)
    gone, stays = commit(Item("gone")), commit(Item("stays"))
    gone.cancel()
    sender.release()
    assert await stays == "STAYS"
    assert sender.batches == [["gone", "stays"]]
    await commit.close()


async def test_more_bytes_than_may_wait_are_turned_away() -> None:
    sender = Sender()
    commit = group_commit(sender, room=10)
    answers = [commit(Item("a", bytes=8))]
    with pytest.raises(Full):
        commit(Item("b", bytes=3))
    sender.release()
    await asyncio.gather(*answers)
    again = commit(Item("b", bytes=3))
    sender.release()
    assert await again == "B"
    await commit.close()


def sharers(sender: Sender, room: Room, count: int) -> list[GroupCommit[Item, str]]:
    return [
        GroupCommit(sender.send, max_items=1, max_bytes=100, fails_all=True, room=room)
        for _ in range(count)
    ]


def fill(commit: GroupCommit[Item, str]) -> list[asyncio.Future[str]]:
    """Let as much wait as may."""
    answers = []
    with pytest.raises(Full):
        while True:
            answers.append(commit(Item("a")))
    return answers


async def test_one_alone_may_fill_the_room() -> None:
    sender, room = Sender(), Room(24, Full)
    (commit,) = sharers(sender, room, 1)
    answers = fill(commit)
    assert len(answers) == 24
    sender.release(24)
    await asyncio.gather(*answers)
    assert room.free == 24


async def test_of_several_none_fills_more_of_the_room_than_it_leaves_free() -> None:
    sender, room = Sender(), Room(24, Full)
    answers = [fill(commit) for commit in sharers(sender, room, 3)]
    assert [*map(len, answers)] == [12, 6, 3]
    sender.release(21)
    await asyncio.gather(*[each for some in answers for each in some])
    assert room.free == 24


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)
