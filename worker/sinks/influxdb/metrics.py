"""What the sink tells Prometheus about InfluxDB."""

from __future__ import annotations

from prometheus_client import Gauge, Histogram

UP = Gauge("sluice_influx_up", "Whether InfluxDB answers and takes writes")
WRITE_SECONDS = Histogram(
    "sluice_influx_write_seconds",
    "Time that InfluxDB took for a write that it accepted",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
