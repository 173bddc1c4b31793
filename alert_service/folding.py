"""Folds: alerts of one kind within a minute that become one, which counts them.

What the gateway refuses by itself costs its sender nothing, so it may come thousands a second. The
first alert of a rule and a client in a minute gets its report. The others are counted in memory,
and the report is brought up to date about once a second: what was counted since is lost in a crash.
The identity of a fold follows from what its alerts share. So a fold goes on in the report that it
has, whoever takes the next alert and when, and ingest can name it while this service is away.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from alert_service.metrics import FOLDED
from mesh.fingerprint import Fingerprint
from sluice.alert.v1.alert_service_pb2 import Alert, Report

MAX_CLIENTS = 256
"""Folds of a minute that tell clients apart. Beyond that alerts are folded by rule alone, so that
neither memory nor the number of reports grows with the number of addresses."""
MAX_FOLDS = 4 * MAX_CLIENTS
"""Folds in memory. Of one that has to go, the report misses what was counted last."""
MAX_REPEATS = 4096
"""Alerts that are remembered, so that a repeated call is not counted twice."""
MAX_REWRITES = 50
"""Reports that are brought up to date at a time, the one that waits longest first."""

TOGETHER = "Too many clients to tell apart: those of all others are counted here."


@dataclass(slots=True)
class Fold:
    """An alert that stands for several. `standing` is there once its report is on disk."""

    standing: asyncio.Future[Alert]
    unwritten: int = 0
    """How many were counted that the report does not tell of."""
    is_over: bool = False
    """Its minute is, and whoever waited for `standing` has been counted by the next flush."""


class Folds:
    """All folds of this process, for one event loop.

    `write` puts the first alert of a fold on disk and returns it, or the one that stands there
    already; `rewrite` puts a changed one in its place, and raises FileNotFoundError when the report
    is gone.
    """

    def __init__(
        self,
        write: Callable[[Report], Awaitable[Alert]],
        rewrite: Callable[[Alert], Awaitable[None]],
    ) -> None:
        self._write = write
        self._rewrite = rewrite
        self._folds: OrderedDict[Fingerprint, Fold] = OrderedDict()
        self._told_apart: Counter[int] = Counter()
        self._recent: OrderedDict[str, Fingerprint] = OrderedDict()

    async def take(self, report: Report) -> Alert:
        """Return the alert that stands for this one, once its report is on disk.

        Raises what `write` raises; then nothing was counted.
        """
        alert = report.alert
        told = alert.alert_id
        known = self._recent.get(told)
        fingerprint = known or self._fingerprint(alert)
        fold = self._folds.get(fingerprint)
        if fold is None:
            alert.alert_id, alert.client = fingerprint.identity, fingerprint.client
            if not fingerprint.client:
                alert.message = f"{alert.message} {TOGETHER}".strip()
            fold = self._begin(fingerprint, report)
        standing = await asyncio.shield(fold.standing)
        if standing is not alert and told not in self._recent and not _began(standing, alert):
            FOLDED.inc()
            fold.unwritten += 1
            standing.count += 1
            if _nanos(alert.last_time) > _nanos(standing.last_time):
                standing.last_time.CopyFrom(alert.last_time)
        self._recent[told] = fingerprint
        if len(self._recent) > MAX_REPEATS:
            self._recent.popitem(last=False)
        return standing

    async def flush(self, minute: int, most: int = MAX_REWRITES) -> None:
        """Bring up to `most` reports up to date, and forget what was before this minute.

        Raises OSError; what was not written stays to be written.
        """
        counted = [each for each in self._folds.items() if each[1].unwritten]
        for fingerprint, fold in counted[:most]:
            unwritten = fold.unwritten
            alert = Alert()
            alert.CopyFrom(fold.standing.result())
            try:
                await self._rewrite(alert)
            except FileNotFoundError:
                # Somebody has removed the report, and with it the alert.
                self._folds.pop(fingerprint, None)
                continue
            fold.unwritten -= unwritten
            with suppress(KeyError):
                self._folds.move_to_end(fingerprint)
        for fingerprint, fold in list(self._folds.items()):
            if fingerprint.minute < minute and fold.standing.done() and not fold.unwritten:
                if fold.is_over:
                    del self._folds[fingerprint]
                fold.is_over = True
        for past in [each for each in self._told_apart if each < minute]:
            del self._told_apart[past]

    def forget(self, reports: Sequence[str]) -> None:
        """Forget the folds with these reports, which are gone: the next alert has one written."""
        for fingerprint, fold in list(self._folds.items()) if reports else ():
            standing = fold.standing
            if not standing.done() or standing.cancelled() or standing.exception() is not None:
                continue
            if standing.result().report in reports:
                del self._folds[fingerprint]

    def _fingerprint(self, alert: Alert) -> Fingerprint:
        rule = alert.violations[0].rule if alert.violations else ""
        apart = Fingerprint.of(rule, alert.client, alert.raise_time.seconds)
        if apart in self._folds or self._told_apart[apart.minute] < MAX_CLIENTS:
            return apart
        return apart._replace(client="")

    def _begin(self, fingerprint: Fingerprint, report: Report) -> Fold:
        fold = self._folds[fingerprint] = Fold(asyncio.ensure_future(self._write(report)))
        if fingerprint.client:
            self._told_apart[fingerprint.minute] += 1
        if len(self._folds) > MAX_FOLDS:
            self._folds.popitem(last=False)

        def drop_failed(standing: asyncio.Future[Alert]) -> None:
            if standing.cancelled() or standing.exception() is not None:
                self._folds.pop(fingerprint, None)

        fold.standing.add_done_callback(drop_failed)
        return fold


def _began(standing: Alert, alert: Alert) -> bool:
    """Tell whether a fold that was begun by an earlier process was begun by this very alert."""
    return bool(alert.http_request_id) and standing.http_request_id == alert.http_request_id


def _nanos(time: Timestamp) -> int:
    return time.seconds * 1_000_000_000 + time.nanos
