"""The client for asyncio: what waits is awaited, and outcomes come on the loop that asked."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sluice_client import (
    AsyncClient,
    Closed,
    Dropped,
    InvalidValue,
    QueueFull,
    Refused,
    Unanswered,
)
from tests.unit.client.scripted import Server, failed, unavailable
from tests.unit.client.test_client import NOWHERE, at_first, raising


async def test_each_submission_gets_its_own_receipt(server: Server, target: str) -> None:
    server.script = at_first(3, raising(unavailable()))
    async with AsyncClient(target, source="web") as client:
        futures = await client.submit_many(range(2000))
        told = await asyncio.gather(*futures)
        assert await client.flush(20)
    assert len({each.task_id for each in told}) == 2000
    assert sorted(server.rows) == list(range(2000))


async def test_a_refusal_is_raised(server: Server, target: str) -> None:
    import grpc

    from mesh.errors import CallError

    error = CallError(
        grpc.StatusCode.INVALID_ARGUMENT, "CONTENT_REFUSED", "", {"alert_id": "alert-1"}
    )
    server.script = lambda server, piece: [failed(error) for _ in piece.submissions]
    async with AsyncClient(target) as client:
        with pytest.raises(Refused):
            await client.submit_now(1)


async def test_a_full_queue_is_awaited_and_the_loop_goes_on(server: Server, target: str) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with AsyncClient(target, max_submissions=20) as client:
        ticking = asyncio.create_task(tick())
        futures = await client.submit_many(range(500))
        await asyncio.gather(*futures)
        ticking.cancel()
    assert ticks > 20


async def test_a_large_submission_waits_for_room_without_spinning() -> None:
    async with AsyncClient(NOWHERE, max_bytes=100_000) as client:
        await client.submit("x" * 90_000, deadline=0.8)
        used = time.process_time()
        await client.submit("x" * 90_000, deadline=5)
        assert time.process_time() - used < 0.5
        await client.close(0)


@pytest.mark.parametrize("when_full", ["block", "raise"])
async def test_a_queue_that_stays_full(when_full: str) -> None:
    client = AsyncClient(NOWHERE, max_submissions=1, when_full=when_full)  # type: ignore[arg-type]
    await client.submit(1)
    with pytest.raises(QueueFull):
        await client.submit(2, deadline=0.2)
    await client.close(0)


async def test_one_of_many_that_cannot_be_sent_takes_no_receipt_away(
    server: Server, target: str
) -> None:
    async with AsyncClient(target) as client:
        first, bad, last = await client.submit_many(["first", object(), "last"])
        with pytest.raises(InvalidValue):
            await bad
        await asyncio.gather(first, last)
    assert server.rows == ["first", "last"]


async def test_drop_and_close() -> None:
    client = AsyncClient(NOWHERE, max_submissions=1, when_full="drop")
    first = await client.submit(1)
    with pytest.raises(Dropped):
        await client.submit_now(2)
    await client.close(0)
    with pytest.raises(Unanswered):
        await first
    with pytest.raises(Closed):
        await client.submit(3)


async def test_a_task_that_is_cancelled_takes_nothing_back(server: Server, target: str) -> None:
    async with AsyncClient(target) as client:
        task = asyncio.create_task(client.submit_now(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.submit_now(2)
        await client.flush()
    assert sorted(server.rows)[-1] == 2


def test_a_loop_that_ends_does_not_stop_the_client(server: Server, target: str) -> None:
    client = AsyncClient(target)

    async def submit() -> None:
        await client.submit_many(range(100))

    asyncio.run(submit())

    async def again() -> str:
        return (await client.submit_now(100)).task_id

    assert asyncio.run(again())
    asyncio.run(client.close())
    assert sorted(server.rows) == list(range(101))
    assert not [each for each in threading.enumerate() if each.name.startswith("sluice")]
