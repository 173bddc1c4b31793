"""Processes are restarted as a new version comes, and the versions do not go together."""

from __future__ import annotations

import contextlib
from typing import cast

from job_store.keys import INTERACTIONS, ONLY, WRITE_INTERACTIONS
from sluice.queue.v1.envelope_pb2 import Envelope
from tests.faults.row import Row
from tests.faults.scene import Scene

ROWS: list[Row] = []


def restart_everything(scene: Scene, rounds: int = 1) -> None:
    """Restart every process that serves or works, one after the other, as a deployment does."""
    names = [*scene.stage.ingest, *scene.stage.workers, "alert_service"]
    for _ in range(rounds):
        scene.random.shuffle(names)
        for name in names:
            scene.supervisor.stop_program(name)
            status = scene.supervisor.programs()[name]["exitstatus"]
            scene.expect(status == 0, f"{name} ended with status {status}")
            scene.supervisor.start_program(name)
            scene.mesh.wait_healthy()
    scene.lift()


ROWS.append(
    Row(
        "rolling-restart",
        "SIGTERM and restart of each process under load",
        5,
        restart_everything,
        no_call_fails=True,
    )
)
ROWS.append(
    Row(
        "rolling-restart-ten",
        "the same ten times over",
        5,
        lambda scene: restart_everything(scene, rounds=10),
        no_call_fails=True,
        in_tests=False,
    )
)


def deploy_out_of_order(scene: Scene) -> None:
    """Ingest is of a later version and names an actor that the workers get only then."""
    with contextlib.ExitStack() as stack:
        for name in scene.stage.workers:
            stack.enter_context(scene.frozen(name))
        jobs = scene.until(lambda: _waiting(scene, 20), "no jobs wait")
        _rename_actor(scene, jobs, f"{WRITE_INTERACTIONS}_v2")
        others = scene.open_jobs() - set(jobs)
    scene.until(lambda: not others & scene.open_jobs(), "the others do not flow")
    scene.a_moment(1.0, 3.0)
    scene.expect(set(jobs) <= scene.open_jobs(), "a job was settled by a worker without its actor")
    scene.expect(scene.dead_letters() == 0, "what was for a later version became a dead letter")
    # The later workers are there: to them the name means what it means to these.
    _rename_actor(scene, jobs, WRITE_INTERACTIONS)
    scene.lift()


ROWS.append(
    Row(
        "deploy-skew",
        "messages for an actor that the workers get only later",
        5,
        deploy_out_of_order,
    )
)


def _waiting(scene: Scene, count: int) -> list[bytes]:
    """Return the first jobs in the queue, none as long as there are fewer."""
    jobs = cast(list[bytes], scene.redis.lrange(ONLY.waiting(INTERACTIONS), 0, count - 1))
    return jobs if len(jobs) == count else []


def _rename_actor(scene: Scene, jobs: list[bytes], actor: str) -> None:
    for job in jobs:
        stored = cast(bytes, scene.redis.hget(ONLY.messages(INTERACTIONS), cast(str, job)))
        envelope = Envelope.FromString(stored)
        envelope.actor_name = actor
        message = cast(str, envelope.SerializeToString())
        scene.redis.hset(ONLY.messages(INTERACTIONS), cast(str, job), message)
