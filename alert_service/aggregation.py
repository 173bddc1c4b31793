"""Aggregation: alerts of one kind within a minute become one alert, which counts them.

A request that the gateway refuses costs its sender nothing, so refusals may come by the thousand a
second. The first alert of a rule and a client in a minute gets its report. The others are counted
in memory, and the report is updated about once a second: what was counted since is lost in a crash.
The identity of an aggregate follows from what its alerts have in common. So later alerts are
counted in the same report whoever delivers them and when, even after a restart, and ingest can tell
a caller the identity while this service is away.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from alert_service.metrics import AGGREGATED
from mesh.fingerprint import Fingerprint
from sluice.alert.v1.alert_service_pb2 import Alert, Report

MAX_CLIENTS = 256
"""Aggregates of a minute that tell clients apart. Beyond that alerts are aggregated by rule alone,
so that neither memory nor the number of reports grows with the number of addresses."""
MAX_AGGREGATES = 4 * MAX_CLIENTS
"""Aggregates in memory. When one is dropped, its report misses what was counted last."""
MAX_REMEMBERED = 4096
"""Alerts that are remembered, so that a repeated call is not counted twice."""
MAX_REWRITES = 50
"""Reports that are updated at a time, the one that waits longest first."""

OTHER_CLIENTS = "Too many clients to tell apart: those of all others are counted here."


@dataclass(slots=True)
class Aggregate:
    """One alert that counts several. `recorded` is that alert, once its report is on disk."""

    recorded: asyncio.Future[Alert]
    unwritten: int = 0
    """How many were counted that are not in the report yet."""
    is_over: bool = False
    """Whether its minute is over; who waited for `recorded` has been counted by the next flush."""


class Aggregator:
    """All aggregates of this process, for one event loop.

    `write` puts the first alert of an aggregate on disk and returns it, or the one that is there
    already; `rewrite` replaces the alert in its report, and raises FileNotFoundError when the
    report is gone.
    """

    def __init__(
        self,
        write: Callable[[Report], Awaitable[Alert]],
        rewrite: Callable[[Alert], Awaitable[None]],
    ) -> None:
        self._write = write
        self._rewrite = rewrite
        self._aggregates: OrderedDict[Fingerprint, Aggregate] = OrderedDict()
        self._begun = asyncio.Event()
        self._clients: Counter[int] = Counter()
        """How many clients are told apart, for each minute."""
        self._remembered: OrderedDict[str, Fingerprint] = OrderedDict()

    async def await_any(self) -> None:
        """Return once there is an aggregate, or what is left of those that there were."""
        while not self._aggregates and not self._clients:
            self._begun.clear()
            await self._begun.wait()

    async def add(self, report: Report) -> Alert:
        """Return the alert that counts this one, once its report is on disk.

        Raises what `write` raises; then nothing was counted.
        """
        alert = report.alert
        alert_id = alert.alert_id
        fingerprint = self._remembered.get(alert_id) or self._fingerprint(alert)
        aggregate = self._aggregates.get(fingerprint)
        if aggregate is None:
            alert.alert_id, alert.client = fingerprint.identity, fingerprint.client
            if not fingerprint.client:
                alert.message = f"{alert.message} {OTHER_CLIENTS}".strip()
            aggregate = self._begin(fingerprint, report)
        recorded = await asyncio.shield(aggregate.recorded)
        is_counted = alert_id in self._remembered or _is_first(recorded, alert)
        if recorded is not alert and not is_counted:
            AGGREGATED.inc()
            aggregate.unwritten += 1
            recorded.count += 1
            if _nanoseconds(alert.last_time) > _nanoseconds(recorded.last_time):
                recorded.last_time.CopyFrom(alert.last_time)
        self._remembered[alert_id] = fingerprint
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return recorded

    async def flush(self, minute: int, most: int = MAX_REWRITES) -> None:
        """Update up to `most` reports, and forget aggregates from before this minute.

        Raises OSError; what was not written is written by a later call.
        """
        counted = [each for each in self._aggregates.items() if each[1].unwritten]
        for fingerprint, aggregate in counted[:most]:
            unwritten = aggregate.unwritten
            alert = Alert()
            alert.CopyFrom(aggregate.recorded.result())
            try:
                await self._rewrite(alert)
            except FileNotFoundError:
                # Somebody has removed the report, and with it the alert.
                self._aggregates.pop(fingerprint, None)
                continue
            aggregate.unwritten -= unwritten
            with suppress(KeyError):
                self._aggregates.move_to_end(fingerprint)
        for fingerprint, aggregate in list(self._aggregates.items()):
            is_written = aggregate.recorded.done() and not aggregate.unwritten
            if fingerprint.minute < minute and is_written:
                if aggregate.is_over:
                    del self._aggregates[fingerprint]
                aggregate.is_over = True
        for past in [each for each in self._clients if each < minute]:
            del self._clients[past]

    def forget(self, reports: Sequence[str]) -> None:
        """Forget aggregates whose reports were removed: the next alert gets a new report."""
        for fingerprint, aggregate in list(self._aggregates.items()) if reports else ():
            recorded = aggregate.recorded
            if not recorded.done() or recorded.cancelled() or recorded.exception() is not None:
                continue
            if recorded.result().report in reports:
                del self._aggregates[fingerprint]

    def _fingerprint(self, alert: Alert) -> Fingerprint:
        rule = alert.violations[0].rule if alert.violations else ""
        own = Fingerprint.of(rule, alert.client, alert.raise_time.seconds)
        if own in self._aggregates or self._clients[own.minute] < MAX_CLIENTS:
            return own
        return own._replace(client="")

    def _begin(self, fingerprint: Fingerprint, report: Report) -> Aggregate:
        recorded = asyncio.ensure_future(self._write(report))
        aggregate = self._aggregates[fingerprint] = Aggregate(recorded)
        self._begun.set()
        if fingerprint.client:
            self._clients[fingerprint.minute] += 1
        if len(self._aggregates) > MAX_AGGREGATES:
            self._aggregates.popitem(last=False)

        def drop_failed(recorded: asyncio.Future[Alert]) -> None:
            if recorded.cancelled() or recorded.exception() is not None:
                self._aggregates.pop(fingerprint, None)

        recorded.add_done_callback(drop_failed)
        return aggregate


def _is_first(recorded: Alert, alert: Alert) -> bool:
    """Tell whether this very alert was the first of an aggregate that an earlier process began."""
    return bool(alert.http_request_id) and recorded.http_request_id == alert.http_request_id


def _nanoseconds(time: Timestamp) -> int:
    return time.seconds * 1_000_000_000 + time.nanos
