"""Clocks are set."""

from __future__ import annotations

from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import REDELIVERED, Kind

ROWS: list[Row] = []

CLOCKED = Kind("two workers with clocks to set", {"worker_processes": 2}, clocked=True)


def step_clocks(scene: Scene) -> None:
    """Set the clocks of one room or both by an hour, forth and back."""
    for hours in (1, -1, 0):
        rooms = scene.random.choice((["worker"], ["ingest_service"], ["worker", "ingest_service"]))
        for room in rooms if hours else ["worker", "ingest_service"]:
            scene.stage.set_clock(room, hours * 3600.0)
        scene.a_moment(1.0, 2.0)
    scene.lift()


ROWS.append(
    Row(
        "clock-step",
        "the clocks of ingest and workers set by an hour, forth and back",
        REDELIVERED,
        step_clocks,
        kind=CLOCKED,
    )
)
