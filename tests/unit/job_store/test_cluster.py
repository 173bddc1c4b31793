"""The connection to a partition of a cluster, against nodes that answer what they are told to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from job_store import redis_client
from job_store.cluster import Address, Cluster, NotServedHere
from job_store.redis_client import connect_to_primary

SLOT = 100
INFO = b"aof_enabled:1\r\naof_last_write_status:ok\r\nmaxmemory_policy:noeviction\r\n"


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text)


class Node:
    """A server that speaks Redis' protocol. `answer` is for all commands but the usual ones."""

    def __init__(self) -> None:
        self.state = b"ok"
        self.primary: Node = self
        self.tells_hosts = True
        self.told: list[list[bytes]] = []
        self.answer: Callable[[list[bytes]], bytes] = lambda command: b"+OK\r\n"
        node = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    command = []
                    for _ in range(int(line[1:])):
                        size = int(self.rfile.readline()[1:])
                        command.append(self.rfile.read(size + 2)[:-2])
                    self.wfile.write(node.reply(command))

        socketserver.ThreadingTCPServer.daemon_threads = True
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.address = ("127.0.0.1", self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, command: list[bytes]) -> bytes:
        if command[0] in (b"CLIENT", b"HELLO"):
            return b"+OK\r\n"
        if command[0] == b"PING":
            return b"+PONG\r\n"
        if command[0] == b"INFO":
            return bulk(INFO)
        if command == [b"CLUSTER", b"INFO"]:
            return bulk(b"cluster_state:%s\r\n" % self.state)
        if command == [b"CLUSTER", b"SLOTS"]:
            host, port = self.primary.address
            told = bulk(host.encode()) if self.tells_hosts else b"$-1\r\n"
            nodes = b"*4\r\n%s:%d\r\n%s*0\r\n" % (told, port, bulk(b"id"))
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n" + nodes
        self.told.append(command)
        return self.answer(command)


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    pair = (Node(), Node())
    yield pair
    for node in pair:
        node.server.shutdown()
        node.server.server_close()


def client_of(*nodes: Node) -> tuple[Cluster, redis.Redis]:
    options: dict[str, Any] = {"protocol": 2}
    cluster = Cluster([node.address for node in nodes], options)
    return cluster, connect_to_primary(cluster, SLOT, options)


@pytest.mark.parametrize("error", ["MOVED 100 127.0.0.1:1", "ASK 100 127.0.0.1:1", "TRYAGAIN x"])
def test_what_a_node_turned_away_goes_to_the_primary_of_the_moment(
    nodes: tuple[Node, Node], error: str
) -> None:
    old, new = nodes

    def moved(command: list[bytes]) -> bytes:
        old.primary = new.primary = new
        return f"-{error}\r\n".encode()

    old.answer = moved
    new.primary = old
    _, client = client_of(old, new)
    assert client.set("key", "value") is True
    assert [command[0] for command in old.told] == [b"SET"]
    assert [command[0] for command in new.told] == [b"SET"]


def test_a_slot_that_stays_away_is_told_after_some_tries(nodes: tuple[Node, Node]) -> None:
    node, _ = nodes
    node.answer = lambda command: b"-CLUSTERDOWN Hash slot not served\r\n"
    _, client = client_of(node)
    with pytest.raises(NotServedHere):
        client.set("key", "value")
    assert 1 < len(node.told) < 10


def test_a_command_whose_reply_is_lost_is_not_repeated(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(redis_client._OPTIONS, "socket_timeout", 0.2)
    node, _ = nodes
    answered = threading.Event()

    def hang(command: list[bytes]) -> bytes:
        answered.wait(5)
        return b"+OK\r\n"

    node.answer = hang
    _, client = client_of(node)
    with pytest.raises(redis.TimeoutError):
        client.set("key", "value")
    answered.set()
    assert len(node.told) == 1


def test_a_node_that_hangs_is_left_by_all_connections(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(redis_client._OPTIONS, "socket_timeout", 0.2)
    old, new = nodes
    cluster, one = client_of(old, new)
    other = connect_to_primary(cluster, SLOT + 1, {"protocol": 2})
    new.primary = old
    one.set("key", "value")
    other.set("key", "value")
    hangs = threading.Event()

    def hang(command: list[bytes]) -> bytes:
        # A replica took over meanwhile.
        old.primary = new.primary = new
        hangs.wait(5)
        return b"+OK\r\n"

    old.answer = hang
    with pytest.raises(redis.TimeoutError):
        one.set("key", "value")
    before = len(old.told)
    other.set("key", "value")
    hangs.set()
    assert (len(old.told), len(new.told)) == (before, 1)


def test_a_node_that_is_cut_off_is_not_believed(nodes: tuple[Node, Node]) -> None:
    cut_off, other = nodes
    cut_off.state = b"fail"
    _, client = client_of(cut_off, other)
    client.set("key", "value")
    assert (cut_off.told, len(other.told)) == ([], 1)


def test_a_node_that_tells_no_host_is_where_it_was_asked(nodes: tuple[Node, Node]) -> None:
    node, _ = nodes
    node.tells_hosts = False
    cluster, _ = client_of(node)
    assert cluster.primary(SLOT) == node.address


def test_a_cluster_of_which_no_node_answers_is_away() -> None:
    cluster = Cluster([("127.0.0.1", 1)], {})
    with pytest.raises(redis.ConnectionError, match="no node"):
        cluster.primary(SLOT)


def test_nodes_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job_store.cluster.MAP_SECONDS", -1)
    seeds = [("seed-1", 1), ("seed-2", 1)]
    cluster = Cluster(seeds, {})
    asked: list[Address] = []
    named: list[Address] = []

    def ask(node: Address) -> list[tuple[int, int, list[Address]]]:
        asked.append(node)
        if node not in named:
            raise redis.ConnectionError
        return [(0, 16383, list(named))]

    monkeypatch.setattr(cluster, "_ask", ask)
    for number in range(100):
        # Every node has another name than before, as containers do, and for a moment none answers.
        named[:] = []
        with pytest.raises(redis.ConnectionError):
            cluster.primary(SLOT)
        named[:] = [seeds[1], (f"node-{number}", 1)]
        assert cluster.primary(SLOT) == seeds[1]
    asked.clear()
    named[:] = []
    with pytest.raises(redis.ConnectionError):
        cluster.primary(SLOT)
    assert sorted(asked) == [("node-99", 1), *seeds]
    for number in range(100):
        monkeypatch.setattr("time.monotonic", lambda now=number * 61.0: now)
        cluster.note_silence((f"node-{number}", 1))
    assert len(cluster._silent) == 1
    assert cluster.was_silent(("node-99", 1), 99 * 61.0 - 1)
