"""Times that are identities: no two interactions of one mesh share one.

A point in InfluxDB is its series and its time, so two interactions of one time would silently
become one. A time here is microseconds, counted up within a process and never repeated or turned
back, with the process's slot in the nanoseconds. Slots are handed out in turn, so two processes
share one only when 1000 others were started between them while both live.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SLOTS = 1000


class UniqueTimes:
    """Hands out times for one process. `slot` is 0 to 999; `now` returns nanoseconds."""

    def __init__(self, slot: int, now: Callable[[], int] = time.time_ns) -> None:
        if not 0 <= slot < SLOTS:
            raise ValueError("a slot is 0 to 999")
        self._slot = slot
        self._now = now
        self._last_microsecond = 0

    def next(self) -> int:
        """Return the present time in nanoseconds, later than every one returned before.

        When more than a million are asked for in a second, or the clock is set back, the times run
        ahead of the clock.
        """
        microsecond = max(self._now() // 1000, self._last_microsecond + 1)
        self._last_microsecond = microsecond
        return microsecond * 1000 + self._slot
