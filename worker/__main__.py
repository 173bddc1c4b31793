"""Starts the worker: `python -m worker`."""

from __future__ import annotations

import asyncio
import threading

from mesh import logs, server, telemetry
from mesh.health import Health
from worker.process import WorkerProcess
from worker.settings import WorkerSettings


async def main() -> None:
    """Work until asked to stop; then finish or give back what is in hand."""
    settings = WorkerSettings.load()
    logs.configure("worker", settings.log_level)
    telemetry.expose(settings.metrics_listen)
    process = WorkerProcess(settings)
    # A worker that waits for the sink is alive: the sink's state is told under its name, beside
    # ours.
    health = Health([], {"queue": process.probe_queue}, {process.sink.name: process.probe_sink})
    listening = server.build(settings, [], health)
    working = threading.Thread(target=process.run, name="watchdog", daemon=True)
    working.start()
    await server.serve(settings, listening, health)
    await asyncio.to_thread(process.close)
    await asyncio.to_thread(working.join)


server.run(main)
