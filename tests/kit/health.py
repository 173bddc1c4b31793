"""The health of a process by gRPC, as whoever watches it asks."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def is_serving(address: str, service: str = "") -> bool:
    """Tell whether a process says that it, or a service, serves. Raises grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=2)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
