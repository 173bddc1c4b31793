"""Reports, written without a process."""

from __future__ import annotations

from alert_service.report_store import ReportStore, WriteResult
from sluice.alert.v1.alert_service_pb2 import Report


def write(store: ReportStore, report: Report, at_edge: bool = False) -> WriteResult:
    """Write one report. Raises StoreFull or OSError."""
    (outcome,) = store.write_all([report], at_edge)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
