from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import ExitStack

import pytest

from alert_service.watching import MAX_KEPT_BYTES, Watchers
from mesh.errors import CallError
from sluice.alert.v1.alert_service_pb2 import Alert


async def test_everyone_gets_every_alert_from_then_on() -> None:
    watchers = Watchers(2)
    watchers.publish(Alert(alert_id="before"))
    with watchers.subscribe() as one, watchers.subscribe() as other:
        watchers.publish(Alert(alert_id="a"))
        watchers.publish(Alert(alert_id="b"))
        for alerts in (one, other):
            assert [(await anext(alerts)).alert_id for _ in range(2)] == ["a", "b"]


async def test_too_many_are_turned_away_until_one_leaves() -> None:
    watchers = Watchers(1)
    with watchers.subscribe():
        with pytest.raises(CallError) as caught, watchers.subscribe():
            pass
        assert caught.value.reason == "TOO_MANY_WATCHERS"
    with watchers.subscribe():
        pass


def large(number: int) -> Alert:
    """Return an alert of which MAX_KEPT_BYTES hold seven."""
    return Alert(alert_id=str(number), message="x" * (MAX_KEPT_BYTES // 8))


async def test_who_falls_behind_in_a_burst_misses_nothing() -> None:
    watchers = Watchers(2)
    with watchers.subscribe() as alerts:
        for burst in range(2):
            names = [f"alert-{burst}-{number:05}" for number in range(10_000)]
            for name in names:
                watchers.publish(Alert(alert_id=name))
            assert [(await anext(alerts)).alert_id for _ in names] == names


async def test_who_cannot_keep_up_is_sent_away_and_takes_nobodys_place() -> None:
    watchers = Watchers(2)
    with watchers.subscribe() as slow, watchers.subscribe() as quick:
        for number in range(8):
            watchers.publish(large(number))
            assert (await anext(quick)).alert_id == str(number)
        with watchers.subscribe() as another:
            watchers.publish(large(8))
            assert (await anext(quick)).alert_id == (await anext(another)).alert_id == "8"
        with pytest.raises(CallError) as caught:
            await anext(slow)
        assert caught.value.reason == "WATCHER_TOO_SLOW"


async def test_an_alert_is_sent_as_it_was() -> None:
    watchers = Watchers(1)
    with watchers.subscribe() as alerts:
        alert = Alert(alert_id="alert-01", count=1)
        watchers.publish(alert)
        alert.count = 2
        assert (await anext(alerts)).count == 1


async def test_those_who_wait_are_all_woken() -> None:
    watchers = Watchers(3)
    with ExitStack() as stack:
        waiting = [
            asyncio.ensure_future(anext(stack.enter_context(watchers.subscribe())))
            for _ in range(3)
        ]
        await asyncio.sleep(0)
        watchers.publish(Alert(alert_id="a"))
        async with asyncio.timeout(10):
            assert [(await each).alert_id for each in waiting] == ["a"] * 3


async def test_nothing_is_kept_when_nobody_watches() -> None:
    watchers = Watchers(1)
    with watchers.subscribe():
        watchers.publish(large(0))
    tracemalloc.start()
    for number in range(8):
        watchers.publish(large(number))
    with watchers.subscribe() as alerts:
        watchers.publish(Alert(alert_id="last"))
        assert (await anext(alerts)).alert_id == "last"
    assert tracemalloc.get_traced_memory()[0] < MAX_KEPT_BYTES // 8
    tracemalloc.stop()


async def test_a_process_that_ends_sends_everyone_away() -> None:
    watchers = Watchers(2)
    with watchers.subscribe() as alerts:
        watchers.publish(Alert(alert_id="last"))
        watchers.close()
        assert (await anext(alerts)).alert_id == "last"
        with pytest.raises(CallError) as caught:
            await anext(alerts)
    assert caught.value.reason == "STOPPING"
    with pytest.raises(CallError), watchers.subscribe():
        pass
