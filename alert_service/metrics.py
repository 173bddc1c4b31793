"""The metrics of the alert service, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ALERTS = Counter("sluice_alerts", "Alerts whose report was written", ["event_type"])
AGGREGATED = Counter("sluice_alerts_folded", "Alerts that were counted in another one's report")
SWEPT = Counter("sluice_alert_reports_swept", "Reports that were removed for their age")
FAILURES = Counter("sluice_alert_failures", "Alerts whose report was not written", ["reason"])
EDGE_REFUSALS = Counter("sluice_edge_refusals", "Refusals that the gateway told of", ["rule"])
EDGE_FAILURES = Counter(
    "sluice_edge_failures", "What the gateway told and no alert was made of", ["reason"]
)
# `store` is `edge` for reports about requests that the gateway refused, `alerts` for all others.
REPORTS = Gauge("sluice_reports", "Reports that are kept", ["store"])
REPORT_BYTES = Gauge("sluice_report_bytes", "Bytes of the reports that are kept", ["store"])
REPORTS_SHARE = Gauge("sluice_alert_reports_share", "Share of the room for reports", ["store"])
WATCHERS = Gauge("sluice_alert_watchers", "Calls of WatchAlerts in flight")

# Callers choose event types, so only these get a series of their own.
_EVENT_TYPES = {"PII", "INVALID_INPUT"}


def event_type_label(event_type: str) -> str:
    """Return the label of an event type, out of a bounded set."""
    return event_type if event_type in _EVENT_TYPES else "OTHER"
