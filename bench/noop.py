"""An IngestService that does nothing: what a gRPC call costs in Python, whatever it is for.

`python -m bench.noop HOST:PORT`. Requests are decoded and answers encoded, as everywhere.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2_grpc

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import (
    IngestServiceServicer,
    add_IngestServiceServicer_to_server,
)
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED

Context = grpc.aio.ServicerContext[Any, Any]

TASK_ID = "01KAT8ZC3GQ4M7T7DPSZ6T6CBX-0"


class Noop(IngestServiceServicer):
    """Answers at once, with answers of the usual size."""

    async def Submit(
        self, request: ingest.SubmitRequest, context: Context
    ) -> ingest.SubmitResponse:
        """Accept a submission and drop it."""
        return ingest.SubmitResponse(
            message="Task received and is being processed", task_id=TASK_ID
        )

    async def SubmitBatch(
        self, request: ingest.SubmitBatchRequest, context: Context
    ) -> ingest.SubmitBatchResponse:
        """Accept submissions and drop them."""
        results = [
            ingest.SubmitResult(verdict=VERDICT_ACCEPTED, task_id=TASK_ID)
            for _ in request.submissions
        ]
        return ingest.SubmitBatchResponse(results=results, accepted=len(results))

    async def SubmitStream(
        self, request_iterator: AsyncIterator[ingest.SubmitStreamRequest], context: Context
    ) -> AsyncIterator[ingest.SubmitStreamResponse]:
        """Accept pieces of submissions and drop them."""
        async for request in request_iterator:
            yield ingest.SubmitStreamResponse(
                results=[
                    ingest.SubmitResult(verdict=VERDICT_ACCEPTED, task_id=TASK_ID)
                    for _ in request.submissions
                ]
            )

    async def GetStatus(
        self, request: ingest.GetStatusRequest, context: Context
    ) -> ingest.GetStatusResponse:
        """Say of any task that it succeeded."""
        task = ingest.GetStatusResponse(
            task_id=request.task_id,
            state=ingest.TASK_STATE_SUCCEEDED,
            result="Written to the database.",
            attempts=1,
        )
        for time in (task.accept_time, task.start_time, task.end_time, task.expire_time):
            time.FromSeconds(1_790_000_000)
        return task


async def serve(address: str) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    # What is not measured stays unimplemented.
    add_IngestServiceServicer_to_server(Noop(), server)  # type: ignore[abstract]
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
