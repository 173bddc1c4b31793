"""What ingest holds while Redis does not answer. On a mesh of its own, since Redis is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from bench.payloads import text
from bench.usage import usage_of
from deploy.local.mesh import LocalMesh
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.kit.meshes import running_mesh

if TYPE_CHECKING:
    from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

BOUND = 8 * 1024 * 1024
SIZE = 200_000
CALLS = 2000
AT_ONCE = 100
"""Calls in flight, more than may wait."""
COPIES = 5
"""As received, as a message, its text, as an entry, and what the allocator keeps. Measured, and the
same after six such floods: two on Python 3.11, up to three on 3.14. All calls, were nothing
bounded, are fourteen; so many there were when failed calls waited for the garbage collector."""


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[LocalMesh]:
    with running_mesh(tmp_path, {"SLUICE_MAX_WAITING_BYTES": str(BOUND)}) as mesh:
        yield mesh


async def _submit_all(address: str) -> Counter[grpc.StatusCode]:
    """Submit everything at once; return how the calls ended."""
    submission = SubmitRequest()
    submission.data.string_value = text(SIZE)
    ends: Counter[grpc.StatusCode] = Counter()
    in_flight = asyncio.Semaphore(AT_ONCE)

    async def submit(stub: IngestServiceAsyncStub) -> None:
        async with in_flight:
            try:
                await stub.Submit(submission, timeout=30)
                ends[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code()] += 1

    async with grpc.aio.insecure_channel(address) as channel:
        stub: IngestServiceAsyncStub = IngestServiceStub(channel)
        await asyncio.gather(*[submit(stub) for _ in range(CALLS)])
    return ends


def test_what_waits_for_redis_is_bounded(mesh: LocalMesh) -> None:
    pid = mesh.supervisor.pid("ingest_service")
    before = usage_of({"ingest": pid}).resident_bytes["ingest"]
    mesh.supervisor.signal("redis", signal.SIGSTOP)
    try:
        ends = asyncio.run(_submit_all(f"127.0.0.1:{mesh.settings.ingest_grpc_port}"))
    finally:
        mesh.supervisor.signal("redis", signal.SIGCONT)
    grown = usage_of({"ingest": pid}).resident_bytes["ingest"] - before
    assert set(ends) == {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    assert grown <= COPIES * (BOUND + AT_ONCE * SIZE)
