"""Starts the alert service: `python -m alert_service`."""

from functools import partial

from alert_service.server import serve
from alert_service.settings import AlertSettings
from mesh import logs
from mesh.server import run

settings = AlertSettings.load()
logs.configure("alert_service", settings.log_level)
run(partial(serve, settings))
