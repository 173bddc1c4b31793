"""Builds the alert service and serves it. The only place that constructs its parts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from alert_service import edge_log, metrics
from alert_service.batch_servicer import AlertBatchServicer
from alert_service.edge_log import EdgeLog
from alert_service.recorder import AlertRecorder
from alert_service.report_store import Limits, ReportStore
from alert_service.retention import SPACE_SERVICE, SpaceMonitor, sweep
from alert_service.servicer import AlertServicer
from alert_service.settings import AlertSettings
from alert_service.watching import Watchers
from mesh import server, telemetry
from mesh.handlers import Service
from mesh.health import Health
from sluice.alert.v1 import alert_batch_service_pb2, alert_service_pb2
from sluice.alert.v1.alert_batch_service_pb2_grpc import add_AlertBatchServiceServicer_to_server
from sluice.alert.v1.alert_service_pb2_grpc import add_AlertServiceServicer_to_server

ALERT = alert_service_pb2.DESCRIPTOR.services_by_name["AlertService"].full_name
BATCH = alert_batch_service_pb2.DESCRIPTOR.services_by_name["AlertBatchService"].full_name

# Each kind of work has threads of its own, so that none can hold up another. Of those for the
# gateway's refusals one writes a group of reports while the other updates one.
EDGE_WRITING_THREADS = 2
READING_THREADS = 2


async def serve(settings: AlertSettings) -> None:
    """Serve until asked to stop, then drain: every report that was begun is on disk or failed."""
    store = ReportStore(
        settings.reports_dir,
        Limits(settings.max_reports, settings.max_report_bytes, settings.report_days),
        Limits(
            settings.max_edge_reports, settings.max_edge_report_bytes, settings.edge_report_days
        ),
    )
    for at_edge, label in ((False, "alerts"), (True, "edge")):
        metrics.REPORTS.labels(label).set_function(partial(store.count, at_edge))
        metrics.REPORT_BYTES.labels(label).set_function(partial(store.total_bytes, at_edge))
        metrics.REPORTS_SHARE.labels(label).set_function(partial(store.share, at_edge))
    watchers = Watchers(settings.max_watchers)
    with (
        ThreadPoolExecutor(1, "writing") as writing,
        ThreadPoolExecutor(EDGE_WRITING_THREADS, "edge_writing") as edge_writing,
        ThreadPoolExecutor(READING_THREADS, "reading") as reading,
        ThreadPoolExecutor(1, "probing") as probing,
        ThreadPoolExecutor(1, "sweeping") as sweeping,
    ):

        async def probe_store() -> None:
            await asyncio.get_running_loop().run_in_executor(probing, store.probe)

        recorder = AlertRecorder(store, writing, edge_writing, watchers)
        refusals = EdgeLog(recorder)
        servicer = AlertServicer(recorder, store, reading, watchers)

        def end_streams() -> None:
            watchers.close()
            refusals.end_streams()

        health = Health(
            [ALERT],
            {"reports": probe_store},
            observed_services={SPACE_SERVICE: SpaceMonitor(store).probe},
        )
        services = [
            Service(ALERT, add_AlertServiceServicer_to_server, servicer),
            Service(BATCH, add_AlertBatchServiceServicer_to_server, AlertBatchServicer(recorder)),
            Service(edge_log.NAME, edge_log.add_to_server, refusals),
        ]
        telemetry.expose(settings.metrics_listen)
        tasks = [
            asyncio.create_task(recorder.flush_counts()),
            asyncio.create_task(sweep(store, sweeping)),
        ]
        await server.serve(settings, server.build(settings, services, health), health, end_streams)
        for task in tasks:
            task.cancel()
        await recorder.close()
