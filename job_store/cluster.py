"""The connection to one partition of a cluster: to whichever node is its primary now.

redis-py's RedisCluster is not used, since it repeats commands by itself: see
`job_store.redis_client.connect`. A partition lies in one slot, so an ordinary client does, if its
connections know where to go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import AskError, ClusterDownError, TryAgainError
from redis.retry import Retry

REDIRECTIONS = 5
REDIRECTION_SECONDS = 0.1
"""A command that a node turned away goes to the primary of the moment, up to so often and so long
apart. It takes half a second until the new primary of a moved slot is known everywhere."""
MAP_SECONDS = 0.1
"""For which one look at the map of slots serves all connections that are made."""
MAP_TIMEOUT_SECONDS = 0.5
"""After which another node is asked for the map."""
SILENCE_SECONDS = 60.0
"""For which it is remembered that a node did not answer. A connection that was idle for longer is
looked at anyway before it is used."""

Address = tuple[str, int]


class NotServedHere(redis.ConnectionError):
    """The node does not serve the slot now. It has not carried out the command."""


REDIRECTED = Retry(
    ConstantBackoff(REDIRECTION_SECONDS), REDIRECTIONS, supported_errors=(NotServedHere,)
)
"""Repeats what was not carried out, and nothing else."""


class Cluster:
    """The nodes of a cluster and which of them serves which slot. Thread-safe.

    `seeds` are the nodes to ask first; the others are those that the last map names. `options` are
    those of a Redis client.
    """

    def __init__(self, seeds: Sequence[Address], options: dict[str, Any]) -> None:
        self._seeds = list(seeds)
        self._nodes = list(seeds)
        self._options = options
        self._primaries: list[tuple[int, int, Address]] = []
        self._read_at = float("-inf")
        self._silent: dict[Address, float] = {}
        self._lock = threading.Lock()

    def primary(self, slot: int) -> Address:
        """Return the node that serves a slot. Raises redis.ConnectionError when none does."""
        with self._lock:
            if time.monotonic() - self._read_at > MAP_SECONDS:
                self._read_map()
            for first, last, address in self._primaries:
                if first <= slot <= last:
                    return address
        raise redis.ConnectionError("no node of the cluster serves this partition")

    def note_silence(self, node: Address) -> None:
        """Take down that a node did not answer in time."""
        now = time.monotonic()
        for each, since in list(self._silent.items()):
            if now - since > SILENCE_SECONDS:
                self._silent.pop(each, None)
        self._silent[node] = now

    def was_silent(self, node: Address, since: float) -> bool:
        """Return whether a node did not answer somebody since that moment of the clock."""
        return self._silent.get(node, float("-inf")) > since

    def _read_map(self) -> None:
        """Ask one node after the other for the map. Whoever does not answer is asked last then."""
        self._primaries = []
        failed: list[Address] = []
        for node in self._nodes:
            try:
                served = self._ask(node)
            except redis.RedisError:
                served = []
            if served:
                self._primaries = [(first, last, nodes[0]) for first, last, nodes in served]
                named = [each for _, _, nodes in served for each in nodes]
                # Nodes come and go, and each that is gone would be asked for ever.
                known = dict.fromkeys([node, *named, *self._seeds])
                self._nodes = sorted(known, key=failed.__contains__)
                break
            failed.append(node)
        self._read_at = time.monotonic()

    def _ask(self, node: Address) -> list[tuple[int, int, list[Address]]]:
        """Return what a node knows of the slots: first and last, the primary, its replicas.

        Nothing of one that is cut off from the others: it does not know who is primary by now.
        """
        with redis.Redis(
            host=node[0],
            port=node[1],
            socket_connect_timeout=MAP_TIMEOUT_SECONDS,
            socket_timeout=MAP_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **self._options,
        ) as client:
            if b"cluster_state:ok" not in cast(bytes, client.execute_command("CLUSTER", "INFO")):
                return []
            slots = cast("list[Any]", client.execute_command("CLUSTER", "SLOTS"))
        return [
            # A node that does not know its own address leaves the host empty, and one that is set
            # to tell none says nil: it is at the address that was asked.
            (first, last, [((host or b"").decode() or node[0], port) for host, port, *_ in nodes])
            for first, last, *nodes in slots
        ]


class PrimaryConnection(redis.Connection):
    """A connection to the primary of a slot. Each time that it connects it asks who that is.

    One to a node that hangs is given up when any other found out: its partitions would wait for the
    same silence one after the other, long after a replica took its place.
    """

    def __init__(self, *, cluster: Cluster, slot: int, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._cluster = cluster
        self._slot = slot
        self._connected_at = float("-inf")

    def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """Connect, unless connected. Raises redis.ConnectionError or redis.TimeoutError.

        The pool calls it whenever it hands the connection out, and not between two commands of one
        that has it: job_store.replication relies on that.
        """
        if self.is_connected and self._cluster.was_silent(
            (self.host, self.port), self._connected_at
        ):
            self.disconnect()  # type: ignore[no-untyped-call]
        if not self.is_connected:
            self.host, self.port = self._cluster.primary(self._slot)
            self._connected_at = time.monotonic()
        super().connect_check_health(check_health, retry_socket_connect)

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Return the response. Raises NotServedHere when the node turned the command away."""
        try:
            return super().read_response(*arguments, **options)
        except redis.TimeoutError:
            self._cluster.note_silence((self.host, self.port))
            raise
        except (AskError, TryAgainError, ClusterDownError) as error:
            # MOVED is an AskError, too. The next command connects anew.
            self.disconnect()  # type: ignore[no-untyped-call]
            raise NotServedHere(type(error).__name__) from None
