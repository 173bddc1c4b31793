"""What the alert service tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ALERTS = Counter("sluice_alerts", "Alerts whose report was written", ["event_type"])
FAILURES = Counter("sluice_alert_failures", "Alerts whose report was not written", ["reason"])
EDGE_REFUSALS = Counter("sluice_edge_refusals", "Refusals that the gateway told of", ["rule"])
EDGE_FAILURES = Counter(
    "sluice_edge_failures", "What the gateway told and no alert was made of", ["reason"]
)
REPORTS = Gauge("sluice_reports", "Reports that are kept")
REPORT_BYTES = Gauge("sluice_report_bytes", "Bytes of the reports that are kept")
WATCHERS = Gauge("sluice_alert_watchers", "Calls of WatchAlerts in flight")

# Callers choose event types, so only these get a series of their own.
_EVENT_TYPES = {"PII", "INVALID_INPUT"}


def event_type_label(event_type: str) -> str:
    """Return the label of an event type, out of a bounded set."""
    return event_type if event_type in _EVENT_TYPES else "OTHER"
