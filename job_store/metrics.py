"""What the job store tells Prometheus."""

from __future__ import annotations

from prometheus_client import Gauge

QUEUE_FULL = Gauge(
    "sluice_queue_full", "Whether submissions are turned away until it drains", ["partition"]
)
