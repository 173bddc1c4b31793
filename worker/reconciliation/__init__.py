"""Whether what was accepted is accounted for: Redis' books against InfluxDB's rows, job by job."""
