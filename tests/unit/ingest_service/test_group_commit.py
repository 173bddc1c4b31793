import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from ingest_service.group_commit import GroupCommit, Room
from job_store.errors import QueueFull


@dataclass(frozen=True)
class Item:
    name: str
    items: int = 1
    bytes: int = 1


class Sender:
    """Sends batches when told to, and remembers them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_send = threading.Semaphore(0)
        self.error: Exception | None = None

    def send(self, items: Sequence[Item]) -> list[str]:
        self.may_send.acquire()
        self.batches.append([item.name for item in items])
        if self.error is not None:
            raise self.error
        return [item.name.upper() for item in items]


def group_commit(
    send: Callable[[Sequence[Item]], list[str]], linger: float = 0.0, **bounds: int
) -> GroupCommit[Item, str]:
    limits = {"max_items": 100, "max_bytes": 100} | bounds
    room = Room(limits.pop("room", 1000))
    return GroupCommit("test", send, linger_seconds=linger, room=room, **limits)


async def test_what_arrives_while_a_batch_is_in_flight_goes_in_the_next_one() -> None:
    sender = Sender()
    commit = group_commit(sender.send)
    first = commit(Item("a"))
    await asyncio.sleep(0)  # lets the first batch go
    others = [commit(Item(name)) for name in "bcd"]
    sender.may_send.release(2)
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]
    assert sender.batches == [["a"], ["b", "c", "d"]]
    await commit.close()


async def test_after_a_batch_of_several_the_next_one_waits_for_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingest_service.group_commit.MAX_LINGER_SECONDS", 60.0)
    sender = Sender()
    sender.may_send.release(3)
    commit = group_commit(sender.send, linger=60.0)
    await asyncio.gather(*[commit(Item(name)) for name in "abc"])
    first, second = commit(Item("d")), commit(Item("e"))
    await asyncio.sleep(0)
    third = commit(Item("f"))
    assert [await answer for answer in (first, second, third)] == ["D", "E", "F"]
    assert sender.batches == [["a", "b", "c"], ["d", "e", "f"]]
    await commit.close()


async def test_callers_in_two_groups_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest_service.group_commit.MAX_LINGER_SECONDS", 60.0)
    sender = Sender()
    commit = group_commit(sender.send, linger=60.0)
    first = commit(Item("a"))
    await asyncio.sleep(0)  # lets the first batch go
    second = commit(Item("b"))
    sender.may_send.release(2)
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
    monkeypatch.setattr("ingest_service.group_commit.MAX_LINGER_SECONDS", 60.0)
    sender = Sender()
    sender.may_send.release(3)
    commit = group_commit(sender.send, linger=60.0, **bounds)
    answers = [commit(Item(name)) for name in "abcdef"]
    assert [await answer for answer in answers] == ["A", "B", "C", "D", "E", "F"]
    assert sender.batches == [["a", "b"], ["c", "d"], ["e", "f"]]
    await commit.close()


async def test_a_batch_does_not_linger_for_long() -> None:
    sender = Sender()
    sender.may_send.release(2)
    commit = group_commit(sender.send, linger=0.001)
    await asyncio.gather(*[commit(Item(name)) for name in "abc"])
    assert await commit(Item("d")) == "D"
    await commit.close()


@pytest.mark.parametrize("bounds", [{"max_items": 2}, {"max_bytes": 2}])
async def test_a_batch_has_no_more_than_its_bounds(bounds: dict[str, int]) -> None:
    sender = Sender()
    commit = group_commit(sender.send, **bounds)
    answers = [commit(Item(name)) for name in "abcde"]
    sender.may_send.release(3)
    await asyncio.gather(*answers)
    assert sender.batches == [["a", "b"], ["c", "d"], ["e"]]
    await commit.close()


async def test_a_request_beyond_the_bounds_goes_alone() -> None:
    sender = Sender()
    commit = group_commit(sender.send, max_bytes=2)
    answers = [commit(Item("large", bytes=50)), commit(Item("small"))]
    sender.may_send.release(2)
    await asyncio.gather(*answers)
    assert sender.batches == [["large"], ["small"]]
    await commit.close()


async def test_a_failed_batch_fails_what_waits_behind_it_and_nothing_later() -> None:
    sender = Sender()
    commit = group_commit(sender.send, max_items=2, room=3)
    sender.error = ConnectionError()
    failing = [commit(Item(name)) for name in "abc"]
    sender.may_send.release()
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert sender.batches == [["a", "b"]]
    sender.error = None
    following = commit(Item("c"))
    sender.may_send.release()
    assert await following == "C"
    await commit.close()


async def test_a_caller_that_goes_away_leaves_the_batch_as_it_was() -> None:
    sender = Sender()
    commit = group_commit(sender.send)
    gone, stays = commit(Item("gone")), commit(Item("stays"))
    gone.cancel()
    sender.may_send.release()
    assert await stays == "STAYS"
    assert sender.batches == [["gone", "stays"]]
    await commit.close()


async def test_more_bytes_than_may_wait_are_turned_away() -> None:
    sender = Sender()
    commit = group_commit(sender.send, room=10)
    answers = [commit(Item("a", bytes=8))]
    with pytest.raises(QueueFull):
        commit(Item("b", bytes=3))
    sender.may_send.release()
    await asyncio.gather(*answers)
    again = commit(Item("b", bytes=3))
    sender.may_send.release()
    assert await again == "B"
    await commit.close()


async def test_group_commits_may_share_the_room_for_what_waits() -> None:
    sender, room = Sender(), Room(10)
    one, other = (
        GroupCommit("test", sender.send, linger_seconds=0.0, room=room, max_items=1, max_bytes=100)
        for _ in range(2)
    )
    answers = [one(Item("a")), other(Item("b")), *[one(Item("c")) for _ in range(8)]]
    with pytest.raises(QueueFull):
        other(Item("d"))
    for _ in answers:
        sender.may_send.release()
    await asyncio.gather(*answers)
    assert room.bytes == 10
    await asyncio.gather(one.close(), other.close())
