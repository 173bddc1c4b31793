"""InfluxDB as a sink: points, how they are written, and how they are read back."""
