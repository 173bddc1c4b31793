"""What the worker tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

JOBS = Counter("sluice_jobs", "Jobs that a worker has finished with", ["actor", "outcome"])
INTERACTIONS = Counter("sluice_interactions", "Interactions that reached their end", ["outcome"])
ALERT_SERVICE_UP = Gauge("sluice_alert_service_up", "Whether the alert service took the last call")
QUEUE_DEPTH = Gauge("sluice_queue_depth", "Messages that no worker has yet", ["queue"])
DEAD_LETTERS = Gauge("sluice_dead_letters", "Messages that wait for a person", ["queue"])
UNACKED = Gauge("sluice_unacked", "Messages that this worker has fetched", ["queue"])
UNACCOUNTED = Gauge(
    "sluice_unaccounted", "Messages that Redis says this worker has and it does not", ["queue"]
)
JOB_COUNTS = Gauge("sluice_books", "Interactions of the whole mesh by where they are", ["entry"])
JOB_COUNTS_DIFFERENCE = Gauge(
    "sluice_books_difference",
    "Interactions that were accepted and are neither written, failed nor in flight",
)
