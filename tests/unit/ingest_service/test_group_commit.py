import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from ingest_service.group_commit import Overfull, SharedTrips


@dataclass(frozen=True)
class Parcel:
    name: str
    items: int = 1
    bytes: int = 1


class Carrier:
    """Carries trips when told to, and remembers them."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.gate = threading.Semaphore(0)
        self.error: Exception | None = None

    def carry(self, parcels: Sequence[Parcel]) -> list[str]:
        self.gate.acquire()
        self.trips.append([parcel.name for parcel in parcels])
        if self.error is not None:
            raise self.error
        return [parcel.name.upper() for parcel in parcels]


def trips(
    carry: Callable[[Sequence[Parcel]], list[str]], patience: float = 0.0, **bounds: int
) -> SharedTrips[Parcel, str]:
    limits = {"max_items": 100, "max_bytes": 100, "max_waiting_bytes": 1000} | bounds
    return SharedTrips("test", carry, patience_seconds=patience, **limits)


async def test_what_arrives_during_a_trip_shares_the_next_one() -> None:
    carrier = Carrier()
    shared = trips(carrier.carry)
    first = shared(Parcel("a"))
    await asyncio.sleep(0)  # lets the first trip leave
    others = [shared(Parcel(name)) for name in "bcd"]
    carrier.gate.release(2)
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]
    assert carrier.trips == [["a"], ["b", "c", "d"]]
    await shared.close()


async def test_after_a_trip_of_several_the_next_one_waits_for_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingest_service.group_commit.MOST_PATIENCE_SECONDS", 60.0)
    carrier = Carrier()
    carrier.gate.release(3)
    shared = trips(carrier.carry, patience=60.0)
    await asyncio.gather(*[shared(Parcel(name)) for name in "abc"])
    first, second = shared(Parcel("d")), shared(Parcel("e"))
    await asyncio.sleep(0)
    third = shared(Parcel("f"))
    assert [await answer for answer in (first, second, third)] == ["D", "E", "F"]
    assert carrier.trips == [["a", "b", "c"], ["d", "e", "f"]]
    await shared.close()


async def test_the_patience_ends() -> None:
    carrier = Carrier()
    carrier.gate.release(2)
    shared = trips(carrier.carry, patience=0.001)
    await asyncio.gather(*[shared(Parcel(name)) for name in "abc"])
    assert await shared(Parcel("d")) == "D"
    await shared.close()


@pytest.mark.parametrize("bounds", [{"max_items": 2}, {"max_bytes": 2}])
async def test_a_trip_takes_no_more_than_its_bounds(bounds: dict[str, int]) -> None:
    carrier = Carrier()
    shared = trips(carrier.carry, **bounds)
    answers = [shared(Parcel(name)) for name in "abcde"]
    carrier.gate.release(3)
    await asyncio.gather(*answers)
    assert carrier.trips == [["a", "b"], ["c", "d"], ["e"]]
    await shared.close()


async def test_a_request_beyond_the_bounds_travels_alone() -> None:
    carrier = Carrier()
    shared = trips(carrier.carry, max_bytes=2)
    answers = [shared(Parcel("large", bytes=50)), shared(Parcel("small"))]
    carrier.gate.release(2)
    await asyncio.gather(*answers)
    assert carrier.trips == [["large"], ["small"]]
    await shared.close()


async def test_a_failed_trip_fails_those_who_wait_for_it_too_and_no_later_one() -> None:
    carrier = Carrier()
    shared = trips(carrier.carry, max_items=2, max_waiting_bytes=3)
    carrier.error = ConnectionError()
    failing = [shared(Parcel(name)) for name in "abc"]
    carrier.gate.release()
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert carrier.trips == [["a", "b"]]
    carrier.error = None
    following = shared(Parcel("c"))
    carrier.gate.release()
    assert await following == "C"
    await shared.close()


async def test_a_caller_that_goes_away_leaves_the_trip_as_it_was() -> None:
    carrier = Carrier()
    shared = trips(carrier.carry)
    gone, stays = shared(Parcel("gone")), shared(Parcel("stays"))
    gone.cancel()
    carrier.gate.release()
    assert await stays == "STAYS"
    assert carrier.trips == [["gone", "stays"]]
    await shared.close()


async def test_more_bytes_than_may_wait_are_turned_away() -> None:
    carrier = Carrier()
    shared = trips(carrier.carry, max_waiting_bytes=10)
    answers = [shared(Parcel("a", bytes=8))]
    with pytest.raises(Overfull):
        shared(Parcel("b", bytes=3))
    carrier.gate.release()
    await asyncio.gather(*answers)
    again = shared(Parcel("b", bytes=3))
    carrier.gate.release()
    assert await again == "B"
    await shared.close()
