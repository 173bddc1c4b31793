"""Keeps the reports within their bounds: removes what is too old, warns before there is no room."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from alert_service.metrics import SWEPT
from alert_service.reports import Reports, error_name
from mesh.health import Unhealthy
from mesh.logs import logger

log = logger("alert.keeping")

SWEEP_SECONDS = 60.0
PAUSE_SECONDS = 0.1
"""Between the steps of a sweep, so that alerts that come in meanwhile have the disk."""

ROOM = "reports_room"
"""The name under which health tells whether there is room for reports."""
ALARM_SHARE = 0.8


async def sweep(reports: Reports, threads: Executor) -> None:
    """Remove reports that are older than they may be, over and over. Runs until cancelled."""
    while True:
        removed = 0
        try:
            removed = await asyncio.get_running_loop().run_in_executor(threads, reports.sweep)
        except OSError as error:
            log.warning("reports not swept", error=error_name(error))
        if removed:
            SWEPT.inc(removed)
            log.info("reports swept", reports=removed)
        # At the start the directory may not be open yet.
        is_idle = not removed and reports.is_open
        await asyncio.sleep(SWEEP_SECONDS if is_idle else PAUSE_SECONDS)


class Room:
    """Watches the room for reports. At 80 % somebody should see to it; at 100 % alerts wait."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._is_scarce = False

    async def probe(self) -> None:
        """Check that there is plenty of room; the log tells when that changes. Raises Unhealthy."""
        share = self._reports.share()
        is_scarce = share >= ALARM_SHARE
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
