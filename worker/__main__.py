"""Starts the worker: `python -m worker`."""

from __future__ import annotations

import asyncio
import threading

from mesh import logs, server, telemetry
from mesh.health import Health
from worker.dramatiq_queue.broker import WorkerRoom
from worker.settings import WorkerSettings


async def main() -> None:
    """Work until asked to stop; then finish or give back what is in hand."""
    settings = WorkerSettings.load()
    logs.configure("worker", settings.log_level)
    telemetry.expose(settings.metrics_listen)
    room = WorkerRoom(settings)
    # A worker that waits for InfluxDB is alive: its state is told under its name, beside ours.
    health = Health([], {"queue": room.probe_queue}, {"influxdb": room.probe_influx})
    listening = server.build(settings, [], health)
    working = threading.Thread(target=room.run, name="audit", daemon=True)
    working.start()
    await server.serve(settings, listening, health)
    await asyncio.to_thread(room.close)
    await asyncio.to_thread(working.join)


server.run(main)
