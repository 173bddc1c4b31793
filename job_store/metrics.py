"""What the job store tells Prometheus."""

from __future__ import annotations

from prometheus_client import Gauge

PARTITIONS_UNAVAILABLE = Gauge(
    "sluice_partitions_unavailable",
    "Partitions of the queue that take no submissions, or give a worker no jobs",
)
QUEUE_FULL = Gauge(
    "sluice_queue_full", "Whether submissions are turned away until it drains", ["partition"]
)
