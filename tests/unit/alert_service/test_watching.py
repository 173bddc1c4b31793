from __future__ import annotations

import pytest

from alert_service.watching import MAX_UNSENT, Watchers
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


async def test_who_cannot_keep_up_gets_what_waited_and_is_sent_away() -> None:
    watchers = Watchers(2)
    with watchers.subscribe() as slow, watchers.subscribe() as quick:
        for number in range(MAX_UNSENT + 10):
            watchers.publish(Alert(alert_id=str(number)))
            await anext(quick)
        seen = []
        with pytest.raises(CallError) as caught:
            async for alert in slow:
                seen.append(alert.alert_id)
        assert caught.value.reason == "WATCHER_TOO_SLOW"
        assert seen == [str(number) for number in range(MAX_UNSENT)]


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
