"""Redis asked from an event loop, against a server that answers what it is told to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
import trustme
import uvloop

from job_store import replication
from job_store.async_client import AsyncClient, AsyncConnection
from job_store.errors import NotDurable, QueueFull, QueueUnavailable
from job_store.redis_client import async_repeatable, connect_async
from job_store.replication import Confirmation, NotConfirmed
from job_store.scripts import AsyncScript

INFO = b"aof_enabled:1\r\naof_last_write_status:ok\r\nmaxmemory_policy:noeviction\r\n"
LATE_SECONDS = 0.1
GREETING = (b"HELLO", b"AUTH", b"CLIENT", b"SELECT", b"INFO")

Answer = Callable[[list[bytes], asyncio.StreamWriter], Awaitable[None]]


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


class Server:
    """Speaks Redis' protocol. `answer` is for all commands but those of a greeting."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.info = INFO
        """Empty when it does not answer."""
        self.greeted = asyncio.Event()
        self.told: list[list[list[bytes]]] = []
        """The commands of each connection."""
        self.greetings: list[list[bytes]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        told: list[list[bytes]] = []
        self.told.append(told)
        self.writers.append(writer)
        while data := await reader.read(1 << 16):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                if command[0] == b"INFO":
                    self.greeted.set()
                    writer.write(bulk(self.info) if self.info else b"")
                elif command[0] in GREETING:
                    self.greetings.append(command)
                    writer.write(b"+OK\r\n")
                else:
                    told.append(command)
                    await self.answer(command, writer)
        writer.close()

    @property
    def names(self) -> list[list[bytes]]:
        """What was asked on each connection, by name."""
        return [[command[0] for command in told] for told in self.told]


def replying(*replies: bytes) -> Answer:
    """Answer one after the other; the last one again and again."""
    left = list(replies)

    async def answer(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer


async def echo(command: list[bytes], writer: asyncio.StreamWriter) -> None:
    writer.write(bulk(command[-1]))


class Scene:
    def __init__(self, server: Server, client: AsyncClient) -> None:
        self.server = server
        self.client = client

    async def ask(self, *command: bytes | str | int) -> Any:
        return await self.client.run(lambda connection: connection.ask(*command))

    async def insist(self, *command: bytes | str | int) -> Any:
        return await async_repeatable(lambda: self.ask(*command))


Scenes = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def scene_of() -> AsyncIterator[Scenes]:
    """Make a scene: a server with this answer, and a client of it."""
    scenes: list[tuple[Scene, asyncio.Server]] = []

    async def make(answer: Answer = echo, options: str = "protocol=2") -> Scene:
        server = Server(answer)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        scene = Scene(server, connect_async(f"redis://127.0.0.1:{port}/0?{options}"))
        scenes.append((scene, listening))
        return scene

    yield make
    for scene, listening in scenes:
        scene.client.close()
        for writer in scene.server.writers:
            writer.close()
        listening.close()
        await listening.wait_closed()


async def test_one_connection_serves_one_call_after_the_other(scene_of: Scenes) -> None:
    scene = await scene_of()
    for number in range(100):
        assert await scene.ask("ECHO", number) == b"%d" % number
    assert scene.server.names == [[b"ECHO"] * 100]


async def test_calls_at_once_have_a_connection_each(scene_of: Scenes) -> None:
    scene = await scene_of()
    answers = await asyncio.gather(*[scene.ask("ECHO", n) for n in range(20)])
    assert answers == [b"%d" % n for n in range(20)]
    assert len(scene.server.told) == 20
    await asyncio.gather(*[scene.ask("ECHO", n) for n in range(20)])
    assert len(scene.server.told) == 20


async def test_a_reply_that_comes_byte_by_byte_is_one_reply(scene_of: Scenes) -> None:
    reply = b"*4\r\n:0\r\n" + bulk(b"a\r\nb") + b"$-1\r\n*2\r\n:1\r\n+x\r\n"

    async def dribble(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        for place in range(len(reply)):
            writer.write(reply[place : place + 1])
            await writer.drain()
            await asyncio.sleep(0)

    scene = await scene_of(dribble)
    for _ in range(2):
        assert await scene.ask("EVALSHA") == [0, b"a\r\nb", None, [1, b"x"]]


async def test_a_huge_command_and_a_huge_reply_pass_whole(scene_of: Scenes) -> None:
    scene = await scene_of()
    text = bytes(range(256)) * 40_000
    assert await scene.ask("ECHO", text) == text
    many = b"*5000\r\n" + bulk(b"x" * 100) * 5000
    scene.server.answer = replying(many)
    assert await scene.ask("MANY") == [b"x" * 100] * 5000
    assert len(scene.server.told) == 1


async def test_an_error_is_the_answer_to_its_own_command_only(scene_of: Scenes) -> None:
    scene = await scene_of(replying(b"-ERR wrong \xff\r\n", b":1\r\n"))
    with pytest.raises(redis.ResponseError, match="wrong"):
        await scene.ask("FIRST")
    assert await scene.ask("SECOND") == 1
    assert scene.server.names == [[b"FIRST", b"SECOND"]]


async def test_a_late_reply_is_taken_for_no_other(scene_of: Scenes) -> None:
    scene = await scene_of(options=f"protocol=2&socket_timeout={LATE_SECONDS}")
    given_up = asyncio.Event()

    async def late(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        if command[-1] == b"slow":
            await given_up.wait()
        await echo(command, writer)

    scene.server.answer = late
    with pytest.raises(QueueUnavailable) as caught:
        await scene.insist("ECHO", "slow")
    assert isinstance(caught.value.__cause__, redis.TimeoutError)
    given_up.set()
    for text in (b"a", b"b", b"c"):
        assert await scene.ask("ECHO", text) == text
    # A command that may have been carried out is not repeated for being late.
    assert [len(told) for told in scene.server.told] == [1, 3]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_process_that_stood_still_takes_no_reply_for_late(run: Callable[[Any], None]) -> None:
    received, released = threading.Event(), threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        commands = hiredis.Reader()
        while data := connection.recv(1 << 16):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                if command[0] == b"X":
                    received.set()
                    released.wait(5)
                connection.sendall(bulk(INFO) if command[0] == b"INFO" else b"+OK\r\n")
        connection.close()

    async def stand_still(client: AsyncClient) -> None:
        asked = asyncio.create_task(client.run(lambda each: each.ask("X")))
        await asyncio.to_thread(received.wait, 5)
        released.set()
        # The loop turns no more while the reply comes.
        threading.Event().wait(3 * LATE_SECONDS)
        assert await asked == b"OK"
        client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        port = listener.getsockname()[1]
        options = f"protocol=2&socket_timeout={LATE_SECONDS}"
        run(stand_still(connect_async(f"redis://127.0.0.1:{port}/0?{options}")))
        serving.join()


async def test_a_caller_that_goes_away_spoils_nothing(scene_of: Scenes) -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def held(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        if command[-1] == b"abandoned":
            arrived.set()
            await released.wait()
        await echo(command, writer)

    scene = await scene_of(held)
    abandoned = asyncio.create_task(scene.ask("ECHO", "abandoned"))
    await arrived.wait()
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    released.set()
    for text in (b"a", b"b"):
        assert await scene.ask("ECHO", text) == text


@pytest.mark.parametrize("other", [b"+two\r\n", b"-ERR two\r\n"])
async def test_an_answer_that_nobody_asked_for_ends_the_connection(
    scene_of: Scenes, other: bytes
) -> None:
    scene = await scene_of(replying(b"+one\r\n" + other))
    assert await scene.ask("X") == b"one"
    scene.server.answer = echo
    assert await scene.ask("ECHO", "mine") == b"mine"
    assert len(scene.server.told) == 2


async def test_what_is_no_reply_ends_the_connection(scene_of: Scenes) -> None:
    scene = await scene_of(replying(b"HTTP/1.1 400 Bad Request\r\n"))
    with pytest.raises(QueueUnavailable):
        await scene.insist("X")
    scene.server.answer = echo
    assert await scene.ask("ECHO", "mine") == b"mine"


async def test_a_connection_that_was_lost_while_idle_is_replaced(scene_of: Scenes) -> None:
    scene = await scene_of()
    await scene.ask("ECHO", "a")
    scene.server.writers[0].transport.abort()
    assert await scene.insist("ECHO", "b") == b"b"


async def test_what_was_lost_on_its_way_is_asked_for_twice_and_not_thrice(
    scene_of: Scenes,
) -> None:
    lost = 1

    async def lose(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        nonlocal lost
        lost -= 1
        if lost < 0:
            await echo(command, writer)
        else:
            writer.write(b"$4\r\nha")
            writer.close()

    scene = await scene_of(lose)
    assert await scene.insist("ECHO", "a") == b"a"
    assert scene.server.names == [[b"ECHO"], [b"ECHO"]]
    lost = 9
    with pytest.raises(QueueUnavailable):
        await scene.insist("ECHO", "b")
    assert sum(map(len, scene.server.told)) == 4


async def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(QueueUnavailable):
        await async_repeatable(lambda: connect_async("redis://127.0.0.1:1/0").run(_ping))


async def _ping(connection: AsyncConnection) -> Any:
    return await connection.ask("PING")


async def test_a_server_that_starts_is_asked_again(scene_of: Scenes) -> None:
    scene = await scene_of(replying(b"-LOADING Redis is loading\r\n", b":1\r\n"))
    assert await scene.insist("X") == 1
    assert scene.server.names == [[b"X"], [b"X"]]


async def test_a_full_server_is_told_from_one_that_is_away(scene_of: Scenes) -> None:
    scene = await scene_of(replying(b"-OOM command not allowed\r\n", b"-ERR CANARY\r\n"))
    with pytest.raises(QueueFull):
        await scene.insist("X")
    with pytest.raises(QueueUnavailable) as caught:
        await scene.insist("X")
    assert "CANARY" not in repr(caught.value)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (b"aof_enabled:0", "append-only"),
        (b"aof_last_write_status:err", "disk"),
        (b"maxmemory_policy:allkeys-lru", "noeviction"),
    ],
)
async def test_no_connection_is_used_that_may_lose_what_is_acknowledged(
    scene_of: Scenes, told: bytes, reason: str
) -> None:
    scene = await scene_of()
    scene.server.info = INFO + told + b"\r\n"
    with pytest.raises(NotDurable, match=reason):
        await scene.ask("X")
    with pytest.raises(QueueUnavailable):
        await scene.insist("X")
    assert not any(scene.server.told)


async def test_a_caller_that_goes_away_before_there_is_a_connection_leaves_none(
    scene_of: Scenes,
) -> None:
    scene = await scene_of()
    scene.server.info = b""
    abandoned = asyncio.create_task(scene.ask("X"))
    await scene.server.greeted.wait()
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    await scene.server.writers[0].wait_closed()
    scene.server.info = INFO
    assert await scene.ask("ECHO", "a") == b"a"


async def test_a_script_that_is_not_known_is_loaded(scene_of: Scenes) -> None:
    scene = await scene_of(replying(b"-NOSCRIPT No matching\r\n", b"+sha\r\n", b":7\r\n"))
    script = AsyncScript("return 7")
    assert await scene.client.run(lambda each: script(each, ["key"], [b"\0", 1])) == 7
    assert scene.server.names == [[b"EVALSHA", b"SCRIPT", b"EVALSHA"]]
    assert scene.server.told[0][2][2:] == [b"1", b"key", b"\0", b"1"]


def confirmed(*told: Sequence[int]) -> Answer:
    """Confirm like this, one after the other."""
    left = [b"*2\r\n:%d\r\n:%d\r\n" % tuple(each) for each in told]
    replies = replying(*left)

    async def answer(command: list[bytes], writer: asyncio.StreamWriter) -> None:
        if command[0] == b"WAITAOF":
            await replies(command, writer)
        else:
            writer.write(b":1\r\n")

    return answer


async def test_replicas_are_asked_on_the_connection_that_wrote(scene_of: Scenes) -> None:
    scene = await scene_of(confirmed((0, 0), (1, 0), (0, 1), (1, 1)))
    confirmation, script = Confirmation(1), AsyncScript("")

    async def write(connection: AsyncConnection) -> Any:
        return await confirmation.async_run(connection, script, [], [])

    assert await asyncio.gather(*[scene.client.run(write) for _ in range(3)]) == [1, 1, 1]
    for names in scene.server.names:
        assert names[0] == b"EVALSHA"
        assert set(names[1:]) == {b"WAITAOF"}
    assert sum(map(len, scene.server.names)) > 6


async def test_what_no_replica_confirms_is_not_acknowledged(
    scene_of: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "CONFIRMATION_SECONDS", 0.05)
    scene = await scene_of(confirmed((1, 0)))

    async def write(connection: AsyncConnection) -> Any:
        return await Confirmation(1).async_run(connection, AsyncScript(""), [], [])

    with pytest.raises(NotConfirmed):
        await scene.client.run(write)


async def test_what_an_address_says_is_done(scene_of: Scenes) -> None:
    scene = await scene_of()
    await scene.ask("ECHO", "a")
    host, port = scene.server.writers[0].get_extra_info("sockname")
    other = connect_async(f"redis://us%40er:pass@{host}:{port}/3?protocol=2")
    assert await other.run(_ping) == b"PING"
    assert [b"AUTH", b"us@er", b"pass"] in scene.server.greetings
    assert [b"SELECT", b"3"] in scene.server.greetings
    other.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_sockets_and_tls_are_spoken_on_either_loop(
    tmp_path: Path, run: Callable[[Any], None]
) -> None:
    authority, certificate = trustme.CA(), tmp_path / "certificate.pem"
    authority.cert_pem.write_to_path(certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    path = tmp_path / "socket"

    async def speak() -> None:
        server = Server(echo)
        by_path = await asyncio.start_unix_server(server.serve, path)
        by_tls = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
        port = by_tls.sockets[0].getsockname()[1]
        text = bytes(range(256)) * 4000
        trusted = f"rediss://127.0.0.1:{port}/0?protocol=2&ssl_ca_certs={certificate}"
        for url in (f"unix://{path}?protocol=2", trusted):
            client = connect_async(url)
            for _ in range(2):
                assert await client.run(lambda each: each.ask("ECHO", text)) == text
            client.close()
        assert [len(told) for told in server.told] == [2, 2]
        distrusted = connect_async(f"rediss://127.0.0.1:{port}/0?protocol=2")
        with pytest.raises(redis.ConnectionError):
            await distrusted.run(_ping)
        for writer in server.writers:
            writer.close()
        for listening in (by_path, by_tls):
            listening.close()
            await listening.wait_closed()

    run(speak())
