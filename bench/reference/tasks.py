"""The worker half of the reference: a Celery task that writes one interaction to InfluxDB."""

import json
import os
from typing import Any

from celery import Celery
from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS

REDIS_URL = os.environ["REFERENCE_REDIS_URL"]

celery = Celery("tasks", broker=REDIS_URL, backend=REDIS_URL)

influx = InfluxDBClient(url=os.environ["REFERENCE_INFLUX_URL"], token="", org="-")
write_api = influx.write_api(write_options=SYNCHRONOUS)


@celery.task(bind=True)
def log_interaction(self: Any, data: Any, source: str) -> str:
    """Write one interaction."""
    point = (
        Point("interactions")
        .tag("verdict", "accepted")
        .field("payload", json.dumps(data))
        .field("task_id", self.request.id)
        .field("source", source)
    )
    write_api.write(bucket="logs", record=point)
    return "Written to the database."
