"""A cluster of Redis: of a test's own, or that of a mesh."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import ResponseError
from redis.retry import Retry

from deploy.local import programs, redis_cluster
from deploy.local.ports import free_ranges
from deploy.local.redis_cluster import Entry, Node
from deploy.local.redis_node import LOG_FOLDER
from deploy.local.settings import HOST, LocalSettings
from job_store.keys import Keys
from job_store.partitions import Partitions
from job_store.settings import CLUSTER_SCHEME, StoreSettings
from tests.kit.processes import Process
from tests.kit.waiting import eventually

READY_SECONDS = 30.0
MIGRATE_MILLISECONDS = 5000
KEYS_AT_ONCE = 100


def look_at(url: str, partitions: int | None) -> tuple[redis.Redis, list[Keys]]:
    """Return a client of a Redis or a whole cluster, and the keys of each partition there.

    It asks Redis however it is configured, which our own processes do not.
    """
    settings = StoreSettings(redis_url=url, redis_partitions=partitions)
    keys = [each.keys for each in Partitions.of(settings).all]
    if not url.startswith(CLUSTER_SCHEME):
        return redis.Redis.from_url(url, socket_timeout=5, retry=Retry(NoBackoff(), 0)), keys
    nodes = [address.rsplit(":", 1) for address in urlsplit(url).netloc.split(",")]
    seeds = [ClusterNode(host, int(port)) for host, port in nodes]  # type: ignore[no-untyped-call]
    client = redis.cluster.RedisCluster(startup_nodes=seeds, socket_timeout=5)
    # It has the same commands, each sent to the node that has the key.
    return cast(redis.Redis, client), keys


def process_of(program: programs.Program, log: Path) -> Process:
    """Return a program of the local mesh as a process of a test's own."""
    for folder in (*program.folders, *(path.parent for path in program.files)):
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in program.files.items():
        path.write_text(text)
    return Process(program.command, log)


class ClusterView:
    """What the nodes of a running cluster tell, and the moving of slots between them."""

    def __init__(self, every: Sequence[Node]) -> None:
        self.nodes = list(every)

    def client(self, port: int) -> redis.Redis:
        """Return a client of one node."""
        return redis_cluster.client(port)

    def ask(self, port: int, *command: str | int) -> Any:
        """Send a node a command and return its answer. Raises redis.RedisError."""
        with self.client(port) as client:
            return client.execute_command(*command)

    def table(self, port: int) -> list[Entry]:
        """Return what one node knows. Raises redis.RedisError."""
        with self.client(port) as client:
            return redis_cluster.table(client)

    def primary_of(self, key: str | bytes, among: Sequence[int] = ()) -> int:
        """Return the port of the node that serves a key, as nodes see it that are not `among`."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        for entries in self._tables(without=among):
            for each in entries:
                if slot in each.slots and each.is_alive:
                    return each.port
        return 0

    def replica_of(self, port: int) -> int:
        """Return the port of a replica of a primary, 0 when it has none."""
        for entries in self._tables():
            primary = next((each.id for each in entries if each.port == port), "")
            for each in entries:
                if each.primary == primary and each.is_alive:
                    return each.port
        return 0

    def primaries(self) -> list[int]:
        """Return the ports of the nodes that serve slots."""
        entries = next(self._tables(), [])
        return [each.port for each in entries if each.slots and each.is_alive]

    def await_whole(self, seconds: float = READY_SECONDS) -> None:
        """Wait until every slot is served and every primary has its replica."""

        def whole() -> bool:
            redis_cluster.check(self.nodes)
            return True

        ignored = (OSError, redis.RedisError, redis_cluster.Incomplete)
        eventually(whole, seconds, "the cluster is not whole", ignoring=ignored)

    def await_failover(self, key: str | bytes, lost: int, seconds: float = READY_SECONDS) -> int:
        """Wait until another node than `lost` serves a key, and return its port."""

        def other() -> int:
            found = self.primary_of(key, among=[lost])
            return 0 if found == lost else found

        return eventually(other, seconds, "no replica took over")

    def move(self, slots: range, source: int, target: int) -> None:
        """Move slots, key by key, as every version does; clients are redirected meanwhile."""
        names = self._names(source)
        for slot in slots:
            self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
            self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
            while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE):
                where = ("MIGRATE", HOST, target, "", 0, MIGRATE_MILLISECONDS, "KEYS")
                self.ask(source, *where, *keys)
            # The new holder first: otherwise nobody might hold it for a moment.
            for port in (target, source):
                self.ask(port, "CLUSTER", "SETSLOT", slot, "NODE", names[target])

    def move_at_once(self, slots: range, source: int, target: int) -> bool:
        """Move slots in one step, and return whether the nodes can do so; Valkey 9 can."""
        name = self._names(source)[target]
        where = ("SLOTSRANGE", slots[0], slots[-1], "NODE", name)
        try:
            self.ask(source, "CLUSTER", "MIGRATESLOTS", *where)
        except ResponseError as error:
            if "unknown subcommand" in str(error).lower():
                return False
            raise
        eventually(lambda: self.holds(target, slots), READY_SECONDS, "the slots were not moved")
        return True

    def holds(self, port: int, slots: range) -> bool:
        """Tell whether a node holds slots, as it sees it itself."""
        [own] = (each for each in self.table(port) if "myself" in each.flags)
        return own.slots.issuperset(slots)

    def _names(self, port: int) -> dict[int, str]:
        return {each.port: each.id for each in self.table(port)}

    def _tables(self, without: Sequence[int] = ()) -> Iterator[list[Entry]]:
        for node in self.nodes:
            if node.port not in without:
                try:
                    yield self.table(node.port)
                except redis.RedisError:
                    continue


class RedisCluster(ClusterView):
    """Processes of a test's own: `primaries` with a replica each, kept one as in the local mesh."""

    def __init__(self, directory: Path, primaries: int = 3, confirming_replicas: int = 1) -> None:
        ports = free_ranges({"redis_port": 2 * primaries, "redis_bus_port": 2 * primaries})
        own: dict[str, Any] = {
            "redis_primaries": primaries,
            "redis_confirming_replicas": confirming_replicas,
            "redis_url": "",
        }
        self.settings = LocalSettings().model_copy(update=own).at(directory, ports)
        super().__init__(redis_cluster.nodes(self.settings))
        self.url = programs.redis_url(self.settings)
        self._processes: dict[int, Process] = {}
        every = programs.redis_programs(self.settings)
        for node, program in zip(self.nodes, every, strict=False):
            self._processes[node.port] = self._process(program)
        self.tender = self._process(every[-1])

    def start(self) -> None:
        """Start all, and wait until the cluster is whole."""
        for process in (*self._processes.values(), self.tender):
            process.start()
        self.await_whole()

    def stop(self) -> None:
        """Kill all."""
        for process in (self.tender, *self._processes.values()):
            process.stop()

    def kill(self, port: int) -> None:
        """Kill -9 a node; it stays down."""
        self._processes[port].stop()

    def restart(self, port: int) -> None:
        """Start a node that was killed."""
        self._processes[port].start()

    def wipe(self, port: int, keep_place: bool = False) -> None:
        """Delete the data of a node that is down, but for its nodes.conf with `keep_place`."""
        folder = self.folder(port)
        if keep_place:
            shutil.rmtree(folder / LOG_FOLDER)
        else:
            shutil.rmtree(folder)
            folder.mkdir()

    @contextmanager
    def paused(self, port: int) -> Iterator[None]:
        """Stop a node in its tracks (SIGSTOP) for the time of the block."""
        self._processes[port].send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._processes[port].send(signal.SIGCONT)

    def folder(self, port: int) -> Path:
        """Return where a node's data lies."""
        number = [node.port for node in self.nodes].index(port) + 1
        return self.settings.state / programs.REDIS_NODES / f"redis-{number}"

    def add_primary(self) -> int:
        """Add a primary with a replica, without slots, and return its port."""
        added = [self._add_node() for _ in range(2)]
        join(self, added)
        return added[0].port

    def _add_node(self) -> Node:
        node = Node(**free_ranges({"port": 1, "bus_port": 1}))
        name = f"redis-{len(self.nodes) + 1}"
        self._processes[node.port] = self._process(programs.redis_node(self.settings, name, node))
        self.nodes.append(node)
        self._processes[node.port].start()
        return node

    def _process(self, program: programs.Program) -> Process:
        return process_of(program, self.settings.state / f"{program.name}.log")


def join(cluster: ClusterView, added: Sequence[Node]) -> None:
    """Make the first of two new nodes a primary of a cluster, and the other its replica."""
    member, (primary, replica) = cluster.primaries()[0], added
    for node in added:
        eventually(lambda node=node: cluster.ask(node.port, "PING"))  # type: ignore[misc]
        cluster.ask(member, "CLUSTER", "MEET", HOST, node.port, node.bus_port)
        cluster.ask(node.port, "ACL", "SETUSER", "default", "+psync")
    name = cluster.ask(primary.port, "CLUSTER", "MYID").decode()
    eventually(lambda: cluster.ask(replica.port, "CLUSTER", "REPLICATE", name))

    def known() -> bool:
        # A node that has just joined takes nothing before it has seen the others.
        expected = {node.port for node in added}
        told = [cluster.ask(node.port, "CLUSTER", "INFO") for node in added]
        replicas = cluster.ask(primary.port, "INFO", "replication")["connected_slaves"]
        return (
            replicas
            and all(b"cluster_state:ok" in each for each in told)
            and all(
                expected <= {each.port for each in cluster.table(node.port) if each.is_alive}
                for node in cluster.nodes
            )
        )

    eventually(known, READY_SECONDS, "the cluster does not know the new nodes")
