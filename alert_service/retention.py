"""Keeps the reports within their limits: removes old ones, and warns before space runs out."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from alert_service.metrics import SWEPT
from alert_service.report_store import ReportStore, error_name
from mesh.health import Unhealthy
from mesh.logs import logger

log = logger("alert.retention")

SWEEP_SECONDS = 60.0
PAUSE_SECONDS = 0.1
"""Between the steps of a sweep, so that alerts can be written meanwhile."""

SPACE_SERVICE = "reports_room"
"""The health service that serves while there is enough space for reports."""
WARNING_SHARE = 0.8


async def sweep(store: ReportStore, threads: Executor) -> None:
    """Remove reports that are older than their limit, over and over. Runs until cancelled."""
    while True:
        removed = 0
        try:
            removed = await asyncio.get_running_loop().run_in_executor(threads, store.sweep)
        except OSError as error:
            log.warning("reports not swept", error=error_name(error))
        if removed:
            SWEPT.inc(removed)
            log.info("reports swept", reports=removed)
        # At the start the directory may not be open yet.
        is_idle = not removed and store.is_open
        await asyncio.sleep(SWEEP_SECONDS if is_idle else PAUSE_SECONDS)


class SpaceMonitor:
    """Watches the space for reports. At 80 % an operator should act; at 100 % alerts wait."""

    def __init__(self, store: ReportStore) -> None:
        self._store = store
        self._is_scarce = False

    async def probe(self) -> None:
        """Check that there is enough space; log when that changes. Raises Unhealthy."""
        share = self._store.share()
        is_scarce = share >= WARNING_SHARE
        if is_scarce != self._is_scarce:
            self._is_scarce = is_scarce
            if is_scarce:
                log.error(
                    "little room for reports",
                    share=round(share, 2),
                    advice="Archive and remove old report files, or raise SLUICE_MAX_REPORTS or "
                    "SLUICE_MAX_REPORT_BYTES. At 1.0 alerts are not taken.",
                )
            else:
                log.info("room for reports again", share=round(share, 2))
        if is_scarce:
            raise Unhealthy(f"{share:.0%} of the room for reports is taken")
