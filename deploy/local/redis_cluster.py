"""Makes the Redis nodes of the local mesh one cluster, and keeps them one.

`python -m deploy.local.redis_cluster PRIMARIES PORT:BUS_PORT ...` gives all slots to the first
nodes and makes the others their replicas. From then on it only helps nodes that come back without
their data: each becomes a replica of the primary that has the fewest. It never moves a slot that
somebody holds, and never gives away one that nobody holds while any node has a key: that would bury
data which another node may bring back. Each step may be repeated, so it may be killed at any time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.settings import HOST, LocalSettings

SLOTS = 16_384
INTERVAL_SECONDS = 0.25
ANSWER_SECONDS = 1.0


class Node(NamedTuple):
    """Where one node listens: for clients, and for the other nodes."""

    port: int
    bus_port: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a node knows of one node: a line of CLUSTER NODES."""

    id: str
    port: int
    """0 when its address is not known any more."""
    flags: frozenset[str]
    primary: str
    """The id of the primary that it follows, `-` for none."""
    slots: frozenset[int]

    @property
    def is_alive(self) -> bool:
        """Whether it is not taken for dead, not even by the node that tells."""
        return self.flags.isdisjoint(("fail", "fail?", "noaddr", "handshake"))

    @property
    def is_primary(self) -> bool:
        """Whether it follows nobody."""
        return "master" in self.flags


class Incomplete(Exception):
    """The cluster does not serve all that it should; the text says what is missing."""


def nodes(settings: LocalSettings) -> list[Node]:
    """Return the nodes of the local cluster, the first primaries first; none without a cluster."""
    return [
        Node(settings.redis_port + number, settings.redis_bus_port + number)
        for number in range(settings.redis_nodes if settings.redis_nodes > 1 else 0)
    ]


def client(port: int) -> redis.Redis:
    """Return a client of one node, which repeats nothing by itself."""
    return redis.Redis(
        HOST,
        port,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def table(node: redis.Redis) -> list[Entry]:
    """Return what a node knows of the cluster. Raises redis.RedisError."""
    return parse(cast(bytes, _ask(node, "CLUSTER", "NODES")).decode())


def parse(text: str) -> list[Entry]:
    """Return the entries of the answer to CLUSTER NODES."""
    entries = []
    for line in text.splitlines():
        name, address, flags, primary, _ping, _pong, _epoch, _link, *ranges = line.split()
        port = address.partition("@")[0].rpartition(":")[2]
        slots: set[int] = set()
        # What stands in brackets is about to move, and belongs to its holder still.
        for first, _, last in (each.partition("-") for each in ranges if each[0] != "["):
            slots.update(range(int(first), int(last or first) + 1))
        entries.append(
            Entry(name, int(port), frozenset(flags.split(",")), primary, frozenset(slots))
        )
    return entries


def check(every: Sequence[Node]) -> None:
    """Check that each slot is served, and each primary has a replica that follows it.

    Raises Incomplete, or redis.RedisError when a node does not answer.
    """
    for node in every:
        with client(node.port) as asked:
            told = cast(bytes, _ask(asked, "CLUSTER", "INFO")).split()
            if b"cluster_state:ok" not in told or b"cluster_slots_ok:%d" % SLOTS not in told:
                raise Incomplete(f"{node.port} does not see all slots served")
            role = asked.info("replication")
            if role["role"] == "slave" and role["master_link_status"] != "up":
                raise Incomplete(f"{node.port} does not follow its primary yet")
            # Redis tells how many replicas keep up only where a write needs one.
            if role["role"] == "master" and not role.get(
                "min_slaves_good_slaves", role["connected_slaves"]
            ):
                raise Incomplete(f"{node.port} has no replica")


def describe(port: int) -> str:
    """Return what a node is: a primary and its slots, or whose replica. Raises redis.RedisError."""
    with client(port) as asked:
        every = table(asked)
    [own] = (each for each in every if "myself" in each.flags)
    if own.is_primary:
        return f"primary, {len(own.slots)} slots"
    followed = next((each.port for each in every if each.id == own.primary), 0)
    return f"replica of {HOST}:{followed}"


class Tender:
    """Looks at the nodes again and again, and takes the step that is due."""

    def __init__(self, primaries: int, every: Sequence[Node]) -> None:
        self._primaries = primaries
        self._nodes = every
        self._clients = {node.port: client(node.port) for node in every}

    def tend(self) -> None:
        """Take what steps are due. What is not answered is left to the next time."""
        tables = self._tables()
        all_are_here = len(tables) == len(self._nodes)
        members = [port for port, entries in tables.items() if len(entries) > 1]
        if not members and not all_are_here:
            return
        view = max(tables.values(), key=len)
        missing = set(range(SLOTS)).difference(*(each.slots for each in view))
        is_whole = not missing and all(each.is_alive for each in view if each.slots)
        may_form = bool(missing) and all_are_here and self._are_empty()
        if is_whole or may_form:
            self._meet([*members, *tables][0], tables)
        if may_form and all(len(each) >= len(self._nodes) for each in tables.values()):
            self._assign(tables, missing)
        elif is_whole:
            self._follow(tables, view)
        self._open(tables)
        self._forget(tables, view)

    def _tables(self) -> dict[int, list[Entry]]:
        """Return what each node that answers knows."""
        found = {}
        for port, asked in self._clients.items():
            try:
                found[port] = table(asked)
            except redis.RedisError:
                continue
        return found

    def _are_empty(self) -> bool:
        try:
            return not any(asked.dbsize() for asked in self._clients.values())
        except redis.RedisError:
            return False

    def _meet(self, host: int, tables: dict[int, list[Entry]]) -> None:
        """Introduce nodes that know nobody to one that does."""
        for node in self._nodes:
            if node.port != host and len(tables.get(node.port, ())) == 1:
                self._tell(host, "CLUSTER", "MEET", HOST, node.port, node.bus_port)

    def _assign(self, tables: dict[int, list[Entry]], missing: set[int]) -> None:
        """Give slots that nobody holds to the first nodes, in equal shares."""
        for number, node in enumerate(self._nodes[: self._primaries]):
            share = range(
                SLOTS * number // self._primaries, SLOTS * (number + 1) // self._primaries
            )
            own = _own(tables[node.port])
            if own.is_primary:
                # What it took a moment ago need not be known everywhere yet.
                for first, last in _ranges(missing.intersection(share) - own.slots):
                    self._tell(node.port, "CLUSTER", "ADDSLOTSRANGE", first, last)

    def _follow(self, tables: dict[int, list[Entry]], view: list[Entry]) -> None:
        """Make nodes that hold no slot replicas, each of the primary that has the fewest."""
        replicas = {each.id: 0 for each in view if each.slots}
        for each in view:
            if each.is_alive and each.primary in replicas:
                replicas[each.primary] += 1
        for port, entries in tables.items():
            own = _own(entries)
            if len(entries) > 1 and own.is_primary and not own.slots:
                primary = min(replicas, key=lambda name: replicas[name])
                replicas[primary] += 1
                self._tell(port, "CLUSTER", "REPLICATE", primary)

    def _open(self, tables: dict[int, list[Entry]]) -> None:
        """Let others copy the nodes that have their place."""
        for port, entries in tables.items():
            own = _own(entries)
            if own.is_primary and not own.slots:
                continue
            allowed = self._tell(port, "ACL", "DRYRUN", "default", "PSYNC", "?", "-1", quietly=True)
            if allowed not in (None, b"OK"):
                # SYNC stays forbidden. A replica that is refused PSYNC tries that next; were it
                # allowed a moment later, it would be a replica of the old kind, which confirms
                # nothing for as long as it is connected.
                self._tell(port, "ACL", "SETUSER", "default", "+psync")

    def _forget(self, tables: dict[int, list[Entry]], view: list[Entry]) -> None:
        """Let all forget what a node was before it lost its data: it never comes back as that."""
        for gone in view:
            if {"fail", "noaddr"} <= gone.flags and not gone.slots:
                for port, entries in tables.items():
                    if any(each.id == gone.id for each in entries):
                        self._tell(port, "CLUSTER", "FORGET", gone.id, quietly=True)

    def _tell(self, port: int, *command: str | int, quietly: bool = False) -> Any:
        """Send a command to a node and return its answer, None when it does not take it."""
        try:
            answer = _ask(self._clients[port], *command)
        except redis.RedisError as error:
            answer, outcome = None, type(error).__name__
        else:
            outcome = "done"
        if not quietly:
            print(f"{port}: {' '.join(map(str, command))}: {outcome}", flush=True)
        return answer


def _ask(node: redis.Redis, *command: str | int) -> Any:
    # In two words the client does not take the answer apart.
    return node.execute_command(*command)  # type: ignore[no-untyped-call]


def _own(entries: Iterable[Entry]) -> Entry:
    return next(each for each in entries if "myself" in each.flags)


def _ranges(slots: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each unbroken row of slots."""
    rows = groupby(enumerate(sorted(slots)), key=lambda each: each[1] - each[0])
    found = [[slot for _, slot in row] for _, row in rows]
    return [(row[0], row[-1]) for row in found]


def main() -> None:
    """Look after the nodes that the command line names, until stopped."""
    primaries, *addresses = sys.argv[1:]
    tender = Tender(int(primaries), [Node(*map(int, address.split(":"))) for address in addresses])
    while True:
        tender.tend()
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main()
