"""Redis dies, hangs, loses connections, cannot write, or is not set up to be durable."""

from __future__ import annotations

import resource
import statistics
import time

from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import REDELIVERED, Kind
from tests.kit.processes import limit_files

ROWS: list[Row] = []

LAZY_DISK = Kind("Redis with everysec", {"redis_fsync": "everysec"})


def kill_redis(scene: Scene) -> None:
    scene.lift()
    scene.kill("redis")


ROWS.append(Row("redis-kill", "kill -9 of Redis", REDELIVERED, kill_redis))


def kill_redis_for_long(scene: Scene) -> None:
    scene.kill_and_hold("redis")
    ports = range(
        scene.mesh.settings.ingest_grpc_port,
        scene.mesh.settings.ingest_grpc_port + scene.mesh.settings.ingest_processes,
    )
    scene.until(
        lambda: not any(scene.is_serving(port) for port in ports), "ingest serves without Redis", 3
    )
    time.sleep(12)
    scene.supervisor.start_program("redis")
    scene.lift()


ROWS.append(
    Row(
        "redis-kill-15s",
        "kill -9 of Redis, down for 12 to 15 s",
        REDELIVERED,
        kill_redis_for_long,
        in_tests=False,
    )
)


def kill_redis_while_jobs_wait(scene: Scene) -> None:
    """The fault that cost stock Dramatiq two of four jobs."""
    scene.kill_and_hold("influxdb")
    scene.until(lambda: sum(scene.in_hand().values()) >= 4, "the workers did not take jobs")
    scene.kill_and_hold("redis")
    scene.a_moment(1.0, 3.0)
    parts = ["redis", "influxdb"]
    scene.random.shuffle(parts)
    for name in parts:
        scene.supervisor.start_program(name)
        scene.a_moment(0.0, 1.0)
    scene.lift()


ROWS.append(
    Row(
        "redis-kill-jobs-waiting",
        "kill -9 of Redis while jobs wait for InfluxDB",
        REDELIVERED,
        kill_redis_while_jobs_wait,
    )
)


def hang_redis(scene: Scene) -> None:
    """Redis answers nothing for longer than its clients wait."""
    port = scene.mesh.settings.ingest_grpc_port
    times = []
    with scene.frozen("redis"):
        end = time.monotonic() + 7
        while time.monotonic() < end:
            begun = time.monotonic()
            scene.is_serving(port)
            times.append(time.monotonic() - begun)
            time.sleep(0.05)
    scene.lift()
    # The median, since a busy machine makes single answers late; a blocked event loop all of them.
    median = statistics.median(times)
    scene.expect(median < 0.1, f"health answers only after {median:.2f} s")


ROWS.append(Row("redis-hang", "SIGSTOP of Redis for 7 s", REDELIVERED, hang_redis, in_tests=False))


def cut_redis_connections(scene: Scene) -> None:
    """Kill every connection, again and again."""
    for _ in range(10):
        scene.redis.client_kill_filter(_type="normal", skipme=True)
        scene.a_moment(0.05, 0.3)
    scene.lift()


ROWS.append(
    Row(
        "redis-connections",
        "every connection to Redis killed, ten times",
        REDELIVERED,
        cut_redis_connections,
        in_tests=False,
    )
)


def tear_redis_log(scene: Scene) -> None:
    """No byte more fits into the append-only file: a write is torn and Redis exits."""
    pid = scene.supervisor.pid("redis")
    limit_files(pid, _log_size(scene) + scene.random.randrange(100, 5000))
    scene.until(lambda: scene.supervisor.pid("redis") not in (0, pid), "Redis did not restart")
    scene.lift()


ROWS.append(
    Row(
        "redis-torn-log",
        "a write to the append-only file is torn and Redis exits",
        REDELIVERED,
        tear_redis_log,
        in_tests=False,
    )
)


def fill_redis_disk(scene: Scene) -> None:
    """As above, but with everysec, which keeps Redis up: it refuses writes until there is room."""
    pid = scene.supervisor.pid("redis")
    limit_files(pid, _log_size(scene) + scene.random.randrange(100, 5000))
    port = scene.mesh.settings.ingest_grpc_port
    scene.until(lambda: not scene.is_serving(port), "ingest serves, though nothing is durable")
    _expect_reason(scene, "could not write its append-only file")
    scene.a_moment(1.0, 2.0)
    limit_files(pid, resource.RLIM_INFINITY)
    scene.lift()


ROWS.append(
    Row(
        "redis-disk-full",
        "Redis (everysec) cannot write its append-only file",
        REDELIVERED,
        fill_redis_disk,
        kind=LAZY_DISK,
        in_tests=False,
    )
)


def misconfigure_redis(scene: Scene) -> None:
    """A Redis that may lose what it acknowledges is refused, from its start and later."""
    path = scene.stage.state / "config" / "redis.conf"
    port = scene.mesh.settings.ingest_grpc_port
    good = path.read_text()
    path.write_text(good.replace("appendonly yes", "appendonly no"))
    scene.supervisor.restart("redis")
    try:
        scene.until(lambda: not scene.is_serving(port), "ingest serves without AOF")
        _expect_reason(scene, "no append-only file")
        _expect_unavailable(scene)
    finally:
        path.write_text(good)
        scene.supervisor.restart("redis")
    scene.until(lambda: scene.is_serving(port), "ingest did not recover")
    scene.redis.config_set("maxmemory-policy", "allkeys-lru")
    scene.until(lambda: not scene.is_serving(port), "ingest serves though Redis evicts")
    _expect_reason(scene, "may evict")
    _expect_unavailable(scene)
    scene.redis.config_set("maxmemory-policy", "noeviction")
    scene.lift()


ROWS.append(
    Row(
        "redis-misconfigured",
        "Redis started without AOF, later with an eviction policy",
        REDELIVERED,
        misconfigure_redis,
    )
)


def _log_size(scene: Scene) -> int:
    """Return the size of the file that Redis appends to, the newest part of its log."""
    parts = (scene.stage.state / "redis" / "appendonlydir").glob("*.incr.aof")
    return max(parts, key=lambda part: part.stat().st_mtime_ns).stat().st_size


def _expect_reason(scene: Scene, reason: str) -> None:
    def told() -> bool:
        return any(
            reason in str(line["reason"])
            for name in scene.stage.ingest
            for line in scene.log_lines(name, "component")
        )

    scene.until(told, f"no log says: {reason}", 10)


def _expect_unavailable(scene: Scene) -> None:
    caller = scene.caller()

    def refused() -> bool:
        return caller.submit(caller.body()).status == 503

    scene.until(refused, "callers are not told")
    caller.close()
