"""Thousands of silent streams and watchers use up their own share, and nobody else's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.alert.v1 import alert_service_pb2 as alerts
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.kit.client import JSON, Client
from tests.kit.error_details import error_info
from tests.kit.meshes import running_mesh

CONNECTIONS = 20
STREAMS = 100
"""On each connection: as many as the gateway allows."""

SHARE = 1000
IDLE_SECONDS = 15


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    environment = {"SLUICE_STREAM_IDLE_SECONDS": str(IDLE_SECONDS)}
    with running_mesh(tmp_path_factory.mktemp("idle"), environment) as mesh:
        yield Client(mesh)


@pytest.fixture
async def channels(client: Client) -> AsyncIterator[list[grpc.aio.Channel]]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                grpc.aio.insecure_channel(client.mesh.gateway, options=options)
            )
            for _ in range(CONNECTIONS)
        ]


def require_service(client: Client) -> None:
    """Check that everybody else is served: health, calls, states, refusals, by gRPC and REST."""
    with grpc.insecure_channel(client.mesh.gateway) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        request = ingest.SubmitRequest(source="idle")
        request.data.string_value = "still served"
        stub = IngestServiceStub(channel)
        task_id = stub.Submit(request, timeout=10).task_id
        stub.GetStatus(ingest.GetStatusRequest(task_id=task_id), timeout=10)
        AlertServiceStub(channel).ListAlerts(alerts.ListAlertsRequest(page_size=1), timeout=10)
    assert client.submit("still served").status == 200
    assert client.get(f"/status/{task_id}").status == 200
    assert client.call("POST", "/submit", b"{", JSON).status == 400
    assert set(client.mesh.health().values()) == {"healthy"}


async def reason(call: Any) -> str:
    """Return why a call ended."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        ended: Any = error
        return str(error_info(ended).reason)
    return "OK"


async def first_refused(calls: Sequence[Any]) -> list[asyncio.Task[str]]:
    """Wait until as many calls as do not fit have been refused; return how the others will end."""
    waiting = {asyncio.create_task(reason(call)) for call in calls}
    refused: list[str] = []
    while len(refused) < len(calls) - SHARE:
        done, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert done
        refused += [task.result() for task in done]
    assert Counter(refused) == {"TOO_MANY_CALLS": len(calls) - SHARE}
    return list(waiting)


async def test_two_thousand_silent_streams_starve_nobody(
    client: Client, channels: list[grpc.aio.Channel]
) -> None:
    stubs = [IngestServiceStub(channel) for channel in channels for _ in range(STREAMS)]
    streams = [stub.SubmitStream() for stub in stubs]
    left = await first_refused(streams)
    await asyncio.to_thread(require_service, client)
    assert not any(each.done() for each in left)
    ended = await asyncio.wait_for(asyncio.gather(*left), 4 * IDLE_SECONDS)
    assert Counter(ended) == {"STREAM_IDLE": SHARE}
    # There is room again.
    stream: Any = stubs[0].SubmitStream()
    request = ingest.SubmitStreamRequest(submissions=[ingest.SubmitRequest(source="idle")])
    request.submissions[0].data.string_value = "after silence"
    await stream.write(request)
    assert (await stream.read()).results[0].task_id
    await stream.done_writing()
    assert await reason(stream) == "OK"


@pytest.mark.timeout(240)
async def test_two_thousand_quiet_watchers_starve_nobody(
    client: Client, channels: list[grpc.aio.Channel]
) -> None:
    request = health_pb2.HealthCheckRequest()
    watches = [
        health_pb2_grpc.HealthStub(channel).Watch(request)
        for channel in channels
        for _ in range(STREAMS)
    ]
    left = await first_refused(watches)
    await asyncio.to_thread(require_service, client)
    # Silent streams end meanwhile; who watches may be silent for longer. Longer also than it takes
    # for the gateway's pings, on connections where nothing else moves, to be too many for gRPC.
    async with grpc.aio.insecure_channel(client.mesh.gateway) as channel:
        for _ in range(3):
            stream = IngestServiceStub(channel).SubmitStream()
            assert await asyncio.wait_for(reason(stream), 4 * IDLE_SECONDS) == "STREAM_IDLE"
    assert not any(each.done() for each in left)
    for watch in watches:
        watch.cancel()
    await asyncio.wait(left, timeout=30)
