from __future__ import annotations

import asyncio

from mesh.health import Health, Unhealthy

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
