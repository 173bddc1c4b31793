"""InfluxDB as a sink: 1.8, and 2.x by the same endpoints."""
