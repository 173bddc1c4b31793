"""Health check of a container: asks the process's own grpc.health.v1. Exits 0 when it serves."""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_, _, port = os.environ["SLUICE_LISTEN"].rpartition(":")
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
sys.exit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)
