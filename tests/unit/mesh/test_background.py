"""Work that goes on when its caller goes away."""

from __future__ import annotations

import asyncio

import pytest

from mesh.background import Background


async def test_the_caller_gets_what_the_work_returns() -> None:
    async def work() -> str:
        return "done"

    assert await Background().run(work()) == "done"


async def test_the_caller_gets_what_the_work_raises() -> None:
    async def work() -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await Background().run(work())


async def test_work_goes_on_when_its_caller_goes_away() -> None:
    background = Background()
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        ended.set()

    caller = asyncio.create_task(background.run(work()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_end.set()
    await background.close()

    assert ended.is_set()


async def test_closing_waits_for_what_begins_meanwhile() -> None:
    background = Background()
    ended: list[str] = []

    async def second() -> None:
        await asyncio.sleep(0)
        ended.append("second")

    async def first() -> None:
        await asyncio.sleep(0)
        ended.append("first")
        following.append(asyncio.create_task(background.run(second())))
        await asyncio.sleep(0)

    following: list[asyncio.Task[None]] = []
    caller = asyncio.create_task(background.run(first()))
    await asyncio.sleep(0)
    await background.close()

    assert ended == ["first", "second"]
    await asyncio.gather(caller, *following)
