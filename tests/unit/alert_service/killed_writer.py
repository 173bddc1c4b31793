"""Writes reports and dies on the way: `killed_writer.py <directory> <step> [rewrite | together]`.

One report; with `together` three at once; with `rewrite` the report is there, and its alert gets
another count.

Counts the system calls that change or persist something, from 1, and kills the process just before
the one named by <step>. Prints `written` when it gets through.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alert_service.report_store import Limits, ReportStore
from sluice.alert.v1.alert_service_pb2 import Alert, Report

STEPS = ("open", "write", "fsync", "link", "unlink", "replace")


def die_before(step: int) -> None:
    calls = itertools.count(1)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **options: Any) -> Any:
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return stand_in

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


store = ReportStore(Path(sys.argv[1]), Limits(10, 1_000_000, 0), Limits(10, 1_000_000, 0))
store.probe()


def report_of(alert_id: str) -> Report:
    report = Report(alert=Alert(alert_id=alert_id, event_type="PII"))
    report.alert.raise_time.FromJsonString("2025-05-12T14:30:05.123456Z")
    report.payload.string_value = "x" * 10_000
    return report


report = report_of("alert-killed")
is_rewriting = sys.argv[3:] == ["rewrite"]
if is_rewriting:
    store.write_all([report])
    report.alert.count = 2
die_before(int(sys.argv[2]))
if is_rewriting:
    store.rewrite(report.alert)
elif sys.argv[3:] == ["together"]:
    store.write_all([report_of(f"alert-killed-{number}") for number in range(3)])
else:
    store.write_all([report])
print("written")
