from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ingest_service.partition_probe import ANSWER_SECONDS
from job_store.store import TIME_MARGIN_MICROSECONDS
from mesh.health import (
    OBSERVED_FAILING_SECONDS,
    OBSERVED_INTERVAL_SECONDS,
    PROBE_INTERVAL_SECONDS,
    QUIET_INTERVAL_SECONDS,
    Health,
    Probe,
    Unhealthy,
)

NAME = "sluice.ingest.v1.IngestService"


async def test_health_follows_its_components() -> None:
    answers: dict[str, Exception | None] = {"redis": Unhealthy("no append-only file")}
    probed = asyncio.Condition()

    async def probe() -> None:
        async with probed:
            probed.notify_all()
        error = answers["redis"]
        if error is not None:
            raise error

    health = Health([NAME], probes={"redis": probe})
    assert health.failing == {"redis": "not probed yet"}
    watching = asyncio.create_task(health.watch())

    async def until(failing: dict[str, str]) -> None:
        async with asyncio.timeout(5), probed:
            await probed.wait_for(lambda: dict(health.failing) == failing)

    await until({"redis": "no append-only file"})
    answers["redis"] = None
    await until({})
    answers["redis"] = ConnectionError("CANARY")
    await until({"redis": "ConnectionError"})
    watching.cancel()


class Clock:
    """Stands for the event loop's clock: whoever sleeps has slept at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self._sleep = asyncio.sleep
        monkeypatch.setattr("asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await self._sleep(0)


async def probe_times(
    monkeypatch: pytest.MonkeyPatch, health_of: Callable[[Probe], Health], fails: bool
) -> list[float]:
    """Return at which times a probe is made, the first ten."""
    clock = Clock(monkeypatch)
    times: list[float] = []
    enough = asyncio.Event()

    async def probe() -> None:
        times.append(clock.now)
        if len(times) == 10:
            enough.set()
            await asyncio.Event().wait()
        if fails:
            raise Unhealthy("away")

    watching = asyncio.create_task(health_of(probe).watch())
    async with asyncio.timeout(10):
        await enough.wait()
    watching.cancel()
    return times


@pytest.mark.parametrize(
    ("fails", "in_use", "interval"),
    [
        (False, None, QUIET_INTERVAL_SECONDS),
        (False, False, QUIET_INTERVAL_SECONDS),
        (False, True, PROBE_INTERVAL_SECONDS),
        (True, None, PROBE_INTERVAL_SECONDS),
        (True, False, PROBE_INTERVAL_SECONDS),
    ],
)
async def test_what_is_well_and_not_in_use_is_probed_seldom(
    monkeypatch: pytest.MonkeyPatch, fails: bool, in_use: bool | None, interval: float
) -> None:
    use = None if in_use is None else lambda: in_use
    times = await probe_times(
        monkeypatch, lambda probe: Health([], {"redis": probe}, in_use=use), fails
    )
    assert times == [number * interval for number in range(10)]


@pytest.mark.parametrize(
    ("fails", "interval"), [(False, OBSERVED_INTERVAL_SECONDS), (True, OBSERVED_FAILING_SECONDS)]
)
async def test_what_is_only_told_of_is_probed_most_seldom(
    monkeypatch: pytest.MonkeyPatch, fails: bool, interval: float
) -> None:
    times = await probe_times(monkeypatch, lambda probe: Health([], {}, {"x": probe}), fails)
    assert times == [number * interval for number in range(10)]


def test_a_process_knows_of_all_times_but_the_latest_that_others_handed_out() -> None:
    assert (QUIET_INTERVAL_SECONDS + ANSWER_SECONDS) * 1_000_000 < TIME_MARGIN_MICROSECONDS
