"""A cluster of Redis loses nodes and their disks, moves slots, and grows."""

from __future__ import annotations

import shutil
from typing import Any

from redis.crc import key_slot

from deploy.local.redis_node import LOG_FOLDER
from tests.faults.load import Answer
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import CLUSTER, REDELIVERED

ROWS: list[Row] = []

FAILOVER = 8
"""Seconds within which a replica has taken over: 2 s of silence, the vote, and a busy machine."""
RECOVERED = FAILOVER + REDELIVERED


def expect_no_worker_ended(scene: Scene, verdict: dict[str, Any]) -> None:
    """Note a problem if a worker ended by itself: what it had of other partitions would wait."""
    ended = [
        line["reason"]
        for worker in scene.stage.workers
        for line in scene.log_lines(worker, "worker exits")
    ]
    scene.expect(not ended, f"workers ended: {ended}")


def wipe_primary(scene: Scene) -> None:
    """The machine of a primary is gone, disk and all; later a new one comes in its place."""
    lost = scene.some_primary()
    scene.kill_and_hold(scene.node(lost))
    # Not before: the supervisor may start it once more, and wait 20 s for it to end.
    scene.lift()
    folder = scene.node_folder(lost)
    shutil.rmtree(folder)
    folder.mkdir()
    _expect_failover(scene, lost)
    scene.supervisor.start_program(scene.node(lost))


ROWS.append(
    Row(
        "cluster-primary-wiped",
        "kill -9 of a primary, its disk wiped",
        RECOVERED,
        wipe_primary,
        kind=CLUSTER,
        clean=expect_no_worker_ended,
    )
)


def bring_primary_back_empty(scene: Scene) -> None:
    """Before the others notice, the primary is back with its nodes.conf and without its data."""
    lost = scene.some_primary()
    scene.kill_and_hold(scene.node(lost))
    # Not before: the supervisor may start it once more, and wait 20 s for it to end.
    scene.lift()
    shutil.rmtree(scene.node_folder(lost) / LOG_FOLDER)
    scene.supervisor.start_program(scene.node(lost))
    _expect_failover(scene, lost)


ROWS.append(
    Row(
        "cluster-primary-back-empty",
        "kill -9 of a primary, back at once with its nodes.conf and no data",
        RECOVERED,
        bring_primary_back_empty,
        kind=CLUSTER,
        clean=expect_no_worker_ended,
    )
)


def stop_primary_past_failover(scene: Scene) -> None:
    """A primary stands still until it is replaced, and goes on where it stood."""
    stopped = scene.some_primary()
    with scene.frozen(scene.node(stopped)):
        scene.lift()
        _expect_failover(scene, stopped)
        scene.a_moment(0.0, 3.0)


ROWS.append(
    Row(
        "cluster-primary-stop",
        "SIGSTOP of a primary past its failover, then SIGCONT",
        RECOVERED,
        stop_primary_past_failover,
        kind=CLUSTER,
        clean=expect_no_worker_ended,
    )
)


def take_replica_away(scene: Scene) -> None:
    """A primary without its replica takes nothing; the other partitions do, at their pace."""
    replica = scene.node(scene.cluster.replica_of(scene.some_primary()))
    with scene.frozen(replica):
        # For 10 s the primary takes what nobody confirms, then it takes nothing.
        scene.a_moment(1.0, 13.0)
        _expect_others_go_on(scene)
    scene.a_moment()
    scene.kill_and_hold(replica)
    scene.a_moment(1.0, 3.0)
    _expect_others_go_on(scene)
    scene.supervisor.start_program(replica)
    scene.lift()


ROWS.append(
    Row(
        "cluster-replica-away",
        "SIGSTOP of a replica for 1 to 13 s, then kill -9, down for 1 to 8 s",
        RECOVERED,
        take_replica_away,
        kind=CLUSTER,
        in_tests=False,
        clean=expect_no_worker_ended,
    )
)


def move_slots(scene: Scene) -> None:
    """Move the partitions of a primary to another and back, key by key and at once."""
    source, target = scene.random.sample(scene.cluster.primaries(), 2)
    moved = _partitions_of(scene, source)
    _move(scene, moved, source, target)
    scene.a_moment()
    scene.lift()
    _move(scene, moved, target, source)


ROWS.append(
    Row(
        "cluster-slots-moved",
        "slots moved from primary to primary under load",
        RECOVERED,
        move_slots,
        kind=CLUSTER,
        in_tests=False,
    )
)


def add_primary(scene: Scene) -> None:
    """The cluster grows: a primary and its replica join, and partitions move there."""
    source = scene.some_primary()
    added = scene.add_primary()
    scene.lift()
    _move(scene, _partitions_of(scene, source), source, added)


ROWS.append(
    Row(
        "cluster-primary-added",
        "a primary added under load",
        RECOVERED,
        add_primary,
        kind=CLUSTER,
        spends_the_mesh=True,
        in_tests=False,
    )
)


def kill_cluster(scene: Scene) -> None:
    """All nodes die at once, and come back."""
    scene.lift()
    names = [scene.node(node.port) for node in scene.cluster.nodes]
    scene.random.shuffle(names)
    for name in names:
        scene.kill(name)


ROWS.append(
    Row(
        "cluster-kill",
        "kill -9 of all nodes",
        RECOVERED,
        kill_cluster,
        kind=CLUSTER,
        clean=expect_no_worker_ended,
    )
)


def kill_services_during_failover(scene: Scene) -> None:
    """While a replica takes over, a worker and an ingest process die too."""
    lost = scene.some_primary()
    scene.kill_and_hold(scene.node(lost))
    # Not before: the supervisor may start it once more, and wait 20 s for it to end.
    scene.lift()
    scene.a_moment(0.0, 3.0)
    names = [scene.random.choice(scene.stage.workers), scene.random.choice(scene.stage.ingest)]
    scene.random.shuffle(names)
    for name in names:
        scene.kill(name)
    _expect_failover(scene, lost)
    scene.supervisor.start_program(scene.node(lost))


ROWS.append(
    Row(
        "cluster-services-kill",
        "kill -9 of a worker and an ingest process while a replica takes over",
        RECOVERED,
        kill_services_during_failover,
        kind=CLUSTER,
        in_tests=False,
    )
)


def _expect_others_go_on(scene: Scene) -> None:
    """Note a problem unless submissions are taken, and written, while partitions take nothing.

    One may get a 503: until its lag is noticed, only a commit finds out that a replica hangs.
    """
    caller = scene.caller()
    taken: list[Answer] = []

    def is_taken() -> bool:
        taken.append(caller.submit(caller.body()))
        return bool(taken[-1].receipt)

    scene.until(is_taken, "nothing is taken while one replica is away", 5)
    caller.close()
    scene.until(lambda: scene.is_written(taken[-1]), "others are not written meanwhile", 3)


def _expect_failover(scene: Scene, lost: int) -> None:
    """Wait until the partitions of a node are served by others."""

    def taken_over() -> bool:
        served = (scene.cluster.primary_of(each.open_jobs, [lost]) for each in scene.partitions)
        return all(port not in (0, lost) for port in served)

    scene.until(taken_over, "no replica took over", FAILOVER + 10)


def _partitions_of(scene: Scene, port: int) -> list[int]:
    """Return the slots of the partitions that a node serves."""
    slots = [key_slot(keys.open_jobs.encode()) for keys in scene.partitions]
    slots = [slot for slot in slots if scene.cluster.holds(port, range(slot, slot + 1))]
    scene.expect(bool(slots), "there is no partition to move")
    return slots


def _move(scene: Scene, slots: list[int], source: int, target: int) -> None:
    for slot in slots:
        one = range(slot, slot + 1)
        if scene.random.random() < 0.5 or not scene.cluster.move_at_once(one, source, target):
            scene.cluster.move(one, source, target)
        scene.a_moment(0.0, 0.3)
