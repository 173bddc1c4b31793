"""What work costs in counts, which a busy machine does not change: jobs, round trips, writes."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import redis

from bench.payloads import as_submission
from bench.usage import usage_of
from deploy.local.mesh import LocalMesh
from ingest_service.recorder import Recorder, interaction
from job_store.admission import Admission
from job_store.counts import CountsReader
from job_store.errors import QueueFull
from job_store.keys import ONLY
from job_store.partitions import Partition
from job_store.redis_client import connect
from job_store.store import Entry, JobStore, Receipt
from mesh.group_commit import Room
from sluice.ingest.v1.ingest_service_pb2 import SubmitBatchRequest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.kit.meshes import running_mesh
from tests.kit.waiting import eventually

MOST_SCRIPTS_A_JOB = 6
"""Storing, fetching, running, finishing, acknowledging, and a heartbeat now and then."""


@dataclass(frozen=True)
class Counts:
    """What Redis and InfluxDB have counted since they started."""

    accepted: int
    finished: int
    jobs: int
    scripts: int
    writes: int
    points: int

    def since(self, before: Counts) -> Counts:
        mine, theirs = vars(self), vars(before)
        return Counts(**{name: mine[name] - theirs[name] for name in mine})


class Mesh:
    """A running mesh and its counters."""

    def __init__(self, local: LocalMesh) -> None:
        self._local = local
        self.redis = redis.Redis.from_url(local.redis_url)
        self.ingest = IngestServiceStub(grpc.insecure_channel(local.gateway))
        self.redis_url = local.redis_url

    def counts(self) -> Counts:
        counts = CountsReader(self.redis).counts()
        scripts: Any = self.redis.info("commandstats")
        url, headers = f"{self._local.influx_url}/debug/vars", self._local.influx_headers("admin")
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            variables = json.load(answer)
        (http,) = [value for name, value in variables.items() if name.startswith("httpd:")]
        return Counts(
            accepted=counts.accepted,
            finished=counts.written + counts.failed,
            jobs=sum(map(self.redis.hlen, self.redis.scan_iter(ONLY.record_prefix + "*"))),
            scripts=scripts.get("cmdstat_evalsha", {"calls": 0})["calls"],
            writes=http["values"]["writeReq"],
            points=http["values"]["pointsWrittenOK"],
        )

    def submit(self, count: int) -> Counts:
        """Submit a batch, wait until it is written, and return what that took."""
        before = self.counts()
        answer = self.ingest.SubmitBatch(
            SubmitBatchRequest(submissions=[as_submission("20 B")] * count), timeout=30
        )
        assert answer.accepted == count
        self.settle(before.accepted + count)
        return self.counts().since(before)

    def settle(self, finished: int) -> None:
        """Wait until that many interactions are finished."""
        eventually(lambda: self.counts().finished >= finished, 30)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("counts")) as local:
        yield Mesh(local)


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_a_batch_is_one_job_and_one_write(mesh: Mesh, count: int) -> None:
    took = mesh.submit(count)

    assert (took.jobs, took.writes, took.points) == (1, 1, count)


def test_round_trips_do_not_grow_with_the_batch(mesh: Mesh) -> None:
    begun = time.monotonic()
    scripts = mesh.submit(5000).scripts
    # The worker's heartbeats are scripts too: one a second for each of its two queues.
    heartbeats = 2 * (math.ceil(time.monotonic() - begun) + 1)
    assert scripts <= MOST_SCRIPTS_A_JOB + heartbeats


async def test_what_comes_together_shares_a_job(mesh: Mesh) -> None:
    submission = as_submission("20 B")
    client = connect(mesh.redis_url)
    jobs = JobStore(
        Partition(client), Admission(Partition(client)), record_seconds=60, request_seconds=60
    )
    recorder = Recorder(jobs, max_items=5000, max_bytes=1 << 20, room=Room(1 << 20, QueueFull))
    before = mesh.counts()

    entry = Entry(interaction(submission.data.SerializeToString()))
    receipts = await asyncio.gather(*[recorder.record([entry]) for _ in range(1000)])
    await recorder.close()

    assert (
        len({(each.job_id, each.first) for (each,) in receipts if isinstance(each, Receipt)})
        == 1000
    )
    mesh.settle(before.accepted + 1000)
    took = mesh.counts().since(before)
    assert (took.accepted, took.points) == (1000, 1000)
    # The first may go alone; the rest finds its trip under way.
    assert took.jobs <= 2
    assert took.writes == took.jobs


def test_usage_counts_children() -> None:
    usage = usage_of({"tests-1": os.getpid()})

    assert usage.cpu_seconds["tests"] > 0
    assert usage.resident_bytes["tests"] > 2**20
    assert usage.since(usage).cpu_seconds == {"tests": 0}
