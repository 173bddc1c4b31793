"""Builds the ingest service and serves it. The only place that constructs its parts."""

from __future__ import annotations

import asyncio
import sys

import grpc

from detection import PolicyError
from ingest_service.alerts import Alerts
from ingest_service.edge import EdgeServicer
from ingest_service.gate import Gate
from ingest_service.intake import Intake
from ingest_service.job_lookups import JobLookups
from ingest_service.otlp.servicer import LOGS, LogsServicer, add_to_server
from ingest_service.partition_probe import PartitionProbe
from ingest_service.partitioned_recorder import PartitionedRecorder
from ingest_service.recorder import Recorder
from ingest_service.servicer import IngestServicer
from ingest_service.settings import IngestSettings
from job_store.admission import Admission
from job_store.alert_queue import AlertQueue
from job_store.errors import QueueFull
from job_store.partitions import Partitions
from job_store.store import JobStore
from mesh import client, server, telemetry
from mesh.group_commit import Room
from mesh.handlers import Service
from mesh.health import Health
from sluice.alert.v1 import alert_service_pb2
from sluice.edge.v1 import edge_service_pb2
from sluice.edge.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server
from sluice.ingest.v1 import ingest_service_pb2
from sluice.ingest.v1.ingest_service_pb2_grpc import add_IngestServiceServicer_to_server

INGEST = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
EDGE = edge_service_pb2.DESCRIPTOR.services_by_name["EdgeService"].full_name
ALERT = alert_service_pb2.DESCRIPTOR.services_by_name["AlertService"].full_name
POLICY = "sluice.policy"
"""Health service that is bad while the policy in force is not what its file holds."""


async def serve(settings: IngestSettings) -> None:
    """Serve until asked to stop, then drain: every submission taken in is durable or has failed.

    Exits with a line that says why when the policy cannot be used.
    """
    partitions = Partitions.of(settings)
    admissions = [
        Admission(
            partition,
            max_jobs=settings.max_queued_jobs,
            max_alerts=settings.max_queued_alerts,
            max_alert_bytes=settings.max_queued_alert_bytes,
        )
        for partition in partitions.all
    ]
    stores = [
        JobStore(
            partition,
            admission,
            record_seconds=settings.status_retention_seconds,
            request_seconds=settings.request_retention_seconds,
            confirming_replicas=settings.redis_confirming_replicas,
        )
        for partition, admission in zip(partitions.all, admissions, strict=True)
    ]
    room = Room(settings.max_waiting_bytes, QueueFull)
    recorders = [
        Recorder(
            store,
            max_items=settings.max_job_items,
            max_bytes=settings.max_job_bytes,
            room=room,
        )
        for store in stores
    ]
    recorder = PartitionedRecorder(partitions, stores, recorders)
    lookups = JobLookups(partitions, stores)
    try:
        gate = Gate(settings.policy_file)
    except PolicyError as error:
        print(f"SLUICE_POLICY_FILE: {error}", file=sys.stderr)
        sys.exit(2)

    async with grpc.aio.insecure_channel(settings.alert_target, client.OPTIONS) as channel:
        queue = AlertQueue(partitions, admissions, settings.redis_confirming_replicas)
        alerts = Alerts(channel, queue)
        intake = Intake(gate, alerts, recorder)
        servicer = IngestServicer(intake, lookups, settings.status_retention_seconds)
        health = Health(
            [INGEST, LOGS],
            probes={"redis": PartitionProbe(partitions, stores)},
            observed_services={ALERT: alerts.probe, POLICY: gate.policy_in_force},
            in_use=lambda: any(each.is_stale for each in admissions),
        )
        ingest = Service(
            INGEST,
            add_IngestServiceServicer_to_server,
            servicer,
            servicer.refuse_undecodable,
            settings.stream_idle_seconds,
        )
        edge = Service(EDGE, add_EdgeServiceServicer_to_server, EdgeServicer(intake))
        reflected = [INGEST, ALERT, LOGS] if settings.reflection else []
        otlp = LogsServicer(intake)
        logs = Service(LOGS, add_to_server, otlp, otlp.refuse_undecodable)
        telemetry.expose(settings.metrics_listen)
        watching = asyncio.create_task(gate.watch_policy())
        await server.serve(
            settings, server.build(settings, [ingest, edge, logs], health, reflected), health
        )
        watching.cancel()
        await intake.close()
        await lookups.close()
        partitions.close()
