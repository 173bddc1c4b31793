from __future__ import annotations

import ast
from pathlib import Path

from sluice.job.v1.job_pb2 import LogInteractions
from worker.sinks.sink import Row, rows


def test_the_interactions_of_a_job_are_a_microsecond_apart() -> None:
    job = LogInteractions(job_id="J", first_time_unix_micro=1_764_112_345_678_901)
    job.interactions.add()
    job.interactions.add(time_unix_nano=17)
    assert rows(job, [0, 1]) == [
        Row("J-0", 1_764_112_345_678_901_000, job.interactions[0]),
        Row("J-1", 1_764_112_345_678_902_000, job.interactions[1]),
    ]
    assert rows(job, [1]) == rows(job, [0, 1])[1:]


def test_partitions_that_assign_the_same_times_share_no_point() -> None:
    job = LogInteractions(job_id="J", first_time_unix_micro=1_764_112_345_678_901, partition=999)
    job.interactions.add()
    job.interactions.add()
    assert [row.time_unix_nano for row in rows(job, [0, 1])] == [
        1_764_112_345_678_901_999,
        1_764_112_345_678_902_999,
    ]


def test_the_interactions_of_an_older_job_have_their_own_times() -> None:
    job = LogInteractions()
    job.interactions.add(time_unix_nano=17)
    job.interactions.add(time_unix_nano=16)
    assert [row.time_unix_nano for row in rows(job, [0, 1])] == [17, 16]


def test_only_the_wiring_names_a_sink() -> None:
    worker = Path(__file__).parents[3] / "worker"
    naming = {
        str(path.relative_to(worker))
        for path in worker.rglob("*.py")
        if path.parent != worker / "sinks" / "influxdb"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker.sinks.")
        if node.module != "worker.sinks.sink"
    }
    assert naming == {"process.py", "reconciliation/__main__.py"}
