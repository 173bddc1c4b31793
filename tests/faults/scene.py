"""One row on stage: what a fault may use to strike, wait and look."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from deploy.local import programs, redis_cluster
from deploy.local.ports import free_ranges
from deploy.local.redis_cluster import Node
from job_store.keys import INTERACTIONS, QUEUES
from job_store.queues import StoredQueue
from tests.faults.checker import recorded
from tests.faults.history import History
from tests.faults.load import Answer, Caller
from tests.faults.stage import Stage
from tests.kit import health, logs
from tests.kit.client import marker
from tests.kit.processes import Process
from tests.kit.proxies import HOST, Ending, InfluxProxy, RedisProxy
from tests.kit.redis_cluster import ClusterView, join, look_at, process_of
from tests.kit.waiting import NO_ANSWER, ConditionTimeout, eventually

Seen = TypeVar("Seen")

WAIT_SECONDS = 40.0
WARM_CALLS = 25
LARGEST_REPORT_BYTES = 5 * 1024 * 1024


class Scene:
    """The stage, the load on it, and the history of one run of one row."""

    def __init__(self, stage: Stage, row: str, seed: int) -> None:
        self.stage = stage
        self.mesh = stage.mesh
        self.supervisor = stage.mesh.supervisor
        self.random = random.Random(f"{row} {seed}")
        self.problems: list[str] = []
        self.lifted: float | None = None
        # A mesh may see one row several times.
        run = uuid.uuid4().hex[:4]
        self.path = stage.state / f"history-{row}-{seed}-{run}.jsonl"
        self.prefix = f"{row}.{seed}.{run}."
        self.canary = marker()
        self.history = History(self.path)
        self.history.write("start", prefix=self.prefix, canary=self.canary, seed=seed)
        settings = stage.mesh.settings
        self.redis, self.partitions = look_at(stage.mesh.redis_url, settings.redis_partitions)
        self.cluster = ClusterView(redis_cluster.nodes(settings))
        """The nodes of Redis, for rows whose mesh has a cluster."""
        self._added: list[Process] = []
        self._seed = seed
        self._load: Process | None = None
        self._callers = 0

    # The load.

    def start_load(self, rate: float) -> None:
        """Start callers in a process of their own and wait until they have receipts."""
        command = self.load_command("tests.faults.load", self._seed)
        self._load = Process([*command, "--rate", str(rate)], self.path.with_suffix(".log"))
        self._load.start()
        self.until(lambda: self.count("ok") >= WARM_CALLS, "the load got no receipts")

    def load_command(self, module: str, seed: int) -> list[str]:
        """Return the command that starts a load, with what tests.faults.load.parser_of takes."""
        command = [sys.executable, "-m", module, "--gateway", self.mesh.gateway]
        command += ["--history", str(self.path), "--prefix", self.prefix]
        return [*command, "--canary", self.canary, "--seed", str(seed)]

    def stop_load(self) -> None:
        """Let the callers end what they began."""
        if self._load is None:
            return
        try:
            if self._load.stop(signal.SIGTERM, 90):
                self.problems.append(f"the load failed: {self._load.log.read_text()[-500:]}")
        except subprocess.TimeoutExpired:
            self._load.stop()
            self.problems.append("the load did not end")
        self._load = None

    def caller(self) -> Caller:
        """Return one more caller, for the calls that the fault itself is about."""
        self._callers += 1
        name = f"z{self._callers}"
        return Caller(self.mesh.gateway, self.history, self.prefix, self.canary, name, self._seed)

    def count(self, event: str) -> int:
        """Return how many lines of the history are about an event."""
        return self.path.read_text().count(f'"event": "{event}"')

    def end(self) -> None:
        """Let go of everything."""
        self.stop_load()
        self.history.close()
        self.redis.close()
        for process in self._added:
            process.stop()

    # Waiting and judging.

    def expect(self, condition: bool, otherwise: str) -> None:
        """Note a problem, which makes the row red, unless `condition` holds."""
        if not condition:
            self.problems.append(otherwise)

    def until(
        self, look: Callable[[], Seen], otherwise: str, seconds: float = WAIT_SECONDS
    ) -> Seen:
        """Return the first true answer of `look`. Raises ConditionTimeout.

        A part that does not answer, or not whole, counts as a look that saw nothing.
        """
        return eventually(look, seconds, otherwise, ignoring=(*NO_ANSWER, ValueError))

    def a_moment(self, shortest: float = 0.1, longest: float = 1.0) -> None:
        """Let a random time pass, so that the fault strikes wherever the load happens to be."""
        time.sleep(self.random.uniform(shortest, longest))

    def lift(self) -> None:
        """Start the clock of the recovery: from here on the mesh has to recover by itself."""
        self.lifted = time.monotonic()

    # Processes.

    def kill(self, name: str) -> int:
        """Kill -9 a program, which the supervisor starts again. Returns the pid it had."""
        pid = self.supervisor.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_and_hold(self, name: str) -> None:
        """Kill -9 a program and keep it down."""
        self.kill(name)

        def held() -> bool:
            # As long as it counts as EXITED, the supervisor is about to start it again.
            with contextlib.suppress(Exception):
                self.supervisor.stop_program(name)
            return bool(self.supervisor.programs()[name]["statename"] == "STOPPED")

        self.until(held, f"{name} did not stay down")

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop a program in its tracks (SIGSTOP) for the time of the block."""
        pid = self.supervisor.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def is_serving(self, port: int, service: str = "") -> bool:
        """Tell whether a process says that it, or a service, serves. Raises grpc.RpcError."""
        return health.is_serving(f"{HOST}:{port}", service)

    def log_lines(self, program: str, event: str) -> list[dict[str, Any]]:
        """Return a program's log lines about one event."""
        return logs.log_lines(self.supervisor.logs / f"{program}.log", event)

    # What the mesh keeps and tells.

    def rows(self) -> list[dict[str, Any]]:
        """Return every recorded interaction."""
        return recorded(self.mesh.influx_url, self.mesh.influx_headers())

    def alert(self, alert_id: str) -> dict[str, Any]:
        """Return what the mesh tells about an alert, nothing when there is none."""
        url = f"http://{self.mesh.gateway}/alerts/{urllib.parse.quote(alert_id, safe='')}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)["alert"]
                return found
        except urllib.error.HTTPError as error:
            error.close()
            return {}

    def expect_report(self, alert_id: str) -> None:
        """Note a problem unless an alert has a report, and one of a bearable size."""
        name = str(self.alert(alert_id).get("report", "none"))
        report = self.mesh.settings.reports_dir / name
        self.expect(report.is_file(), "an alert has no report")
        if report.is_file():
            size = report.stat().st_size
            self.expect(size <= LARGEST_REPORT_BYTES, f"a report has {size} bytes")

    # Redis as it is.

    def in_hand(self) -> dict[str, int]:
        """Return how many interaction jobs each worker has fetched and not acknowledged."""
        return {
            key.decode(): self.redis.scard(key)
            for keys in self.partitions
            for key in self.redis.scan_iter(keys.fetched(INTERACTIONS, "*"))
        }

    def open_jobs(self) -> set[bytes]:
        """Return the jobs that are not settled."""
        return {
            job
            for keys in self.partitions
            for job in cast(list[bytes], self.redis.hkeys(keys.open_jobs))
        }

    def is_drained(self) -> bool:
        """Tell whether nothing waits, nothing is in hand and every job is settled."""
        return not any(
            self.redis.hlen(keys.open_jobs)
            or self.redis.exists(*map(keys.messages, QUEUES))
            or next(self.redis.scan_iter(keys.fetched("*", "*")), None)
            for keys in self.partitions
        )

    def dead_letters(self) -> int:
        """Return how many dead letters there are."""
        return sum(
            StoredQueue(self.redis, queue, keys).dead()
            for keys in self.partitions
            for queue in QUEUES
        )

    # The nodes of a cluster.

    def node(self, port: int) -> str:
        """Return the name of the program that is the node on a port."""
        return f"redis-{[node.port for node in self.cluster.nodes].index(port) + 1}"

    def some_primary(self) -> int:
        """Return the port of a node that serves one of the partitions."""
        return self.cluster.primary_of(self.random.choice(self.partitions).open_jobs)

    def node_folder(self, port: int) -> Path:
        """Return where a node has its data."""
        return self.stage.state / programs.REDIS_NODES / self.node(port)

    def add_primary(self) -> int:
        """Add a primary without slots, and its replica, to the cluster. Returns its port."""
        added = []
        for number in (1, 2):
            node = Node(**free_ranges({"port": 1, "bus_port": 1}))
            program = programs.redis_node(self.mesh.settings, f"redis-added-{number}", node)
            process = process_of(program, self.supervisor.logs / f"{program.name}.log")
            process.start()
            self._added.append(process)
            added.append(node)
        join(self.cluster, added)
        return added[0].port

    # Recovery.

    def await_recovery(self, bound: float) -> float:
        """Return how long it took from `lift` until all was well again by itself.

        All is well when every program is healthy, every job that was open then is settled, and a
        fresh submission has gone all the way to InfluxDB. Raises ConditionTimeout.
        """
        lifted = self.lifted if self.lifted is not None else time.monotonic()
        seconds = bound + 30
        was_open: set[bytes] = set()

        def seen() -> bool:
            was_open.update(self.open_jobs())
            return True

        self.until(seen, "Redis did not come back", seconds)
        caller = self.caller()
        answer = caller.insist(caller.body(repeatable=True), seconds)
        caller.close()
        if not answer.receipt:
            raise ConditionTimeout("no submission was accepted again")
        self.until(lambda: self.is_written(answer), "a fresh submission was not written", seconds)
        self.until(lambda: not was_open & self.open_jobs(), "the backlog did not drain", seconds)
        took = time.monotonic() - lifted
        self.mesh.wait_healthy(seconds)
        return took

    def is_written(self, answer: Answer) -> bool:
        """Tell whether what was accepted is written."""
        url = f"http://{self.mesh.gateway}/status/{answer.receipt}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return bool(json.load(reply)["state"] == "TASK_STATE_SUCCEEDED")
        except urllib.error.HTTPError as error:
            error.close()
            return False

    # Proxies.

    def lose_replies(self, *marks: bytes, spared: bytes | None = None) -> None:
        """Lose one reply to a request with these marks by a reset, then one in silence."""
        for ending in (Ending.RESET, Ending.SILENCE):
            loss = self.redis_proxy.lose(*marks, ending=ending, spared=spared)
            self.until(loss.struck.is_set, "there was no reply to lose")
            self.a_moment()
        self.lift()

    @property
    def redis_proxy(self) -> RedisProxy:
        """The proxy before Redis; only rows whose mesh has one may ask."""
        assert self.stage.redis_proxy is not None
        return self.stage.redis_proxy

    @property
    def influx_proxy(self) -> InfluxProxy:
        """The proxy before InfluxDB; only rows whose mesh has one may ask."""
        assert self.stage.influx_proxy is not None
        return self.stage.influx_proxy
