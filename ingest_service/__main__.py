"""Starts the ingest service: `python -m ingest_service`."""

from functools import partial

from ingest_service.server import serve
from ingest_service.settings import IngestSettings
from mesh import logs
from mesh.server import run

settings = IngestSettings.load()
logs.configure("ingest_service", settings.log_level)
run(partial(serve, settings))
