"""Which reports there are, in memory: sorted by time, counted, and held to a bound."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence


class Full(Exception):
    """As many reports are kept as may be."""


class Catalogue:
    """The moments of the reports that are kept, and of those being written. Thread-safe."""

    def __init__(self, most_reports: int, most_bytes: int) -> None:
        self._most_reports = most_reports
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: list[int] = []
        self._sizes: dict[int, int] = {}
        self._reserved: dict[int, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, moment: int) -> bool:
        return moment in self._sizes

    @property
    def total_bytes(self) -> int:
        """Bytes of all reports that are kept."""
        return self._bytes

    def refill(self, count: Callable[[], Mapping[int, int]]) -> None:
        """Know exactly the reports that `count` finds, by moment and size in bytes.

        A report that is added meanwhile waits, so that none is missed.
        """
        with self._lock:
            sizes = count()
            self._sizes = dict(sizes)
            self._kept = sorted(sizes)
            self._bytes = sum(sizes.values())

    def reserve(self, moment: int, size: int) -> int:
        """Reserve the first free moment from `moment` on for a report of `size` bytes.

        Raises Full.
        """
        with self._lock:
            if len(self._kept) + len(self._reserved) >= self._most_reports:
                raise Full
            if self._bytes + sum(self._reserved.values()) + size > self._most_bytes:
                raise Full
            while moment in self._sizes or moment in self._reserved:
                moment += 1
            self._reserved[moment] = size
            return moment

    def release(self, moment: int) -> None:
        """Give a reserved moment back."""
        with self._lock:
            self._reserved.pop(moment, None)

    def add(self, moment: int, size: int) -> None:
        """Note that the report of this moment is kept."""
        with self._lock:
            self._reserved.pop(moment, None)
            if moment not in self._sizes:
                self._sizes[moment] = size
                self._bytes += size
                insort(self._kept, moment)

    def remove(self, moment: int) -> None:
        """Note that somebody has removed the report of this moment."""
        with self._lock:
            size = self._sizes.pop(moment, None)
            if size is not None:
                self._bytes -= size
                del self._kept[bisect_left(self._kept, moment)]

    def before(self, moment: int | None, most: int) -> Sequence[int]:
        """Return up to `most` moments before `moment`, or the last ones, newest first."""
        with self._lock:
            end = len(self._kept) if moment is None else bisect_left(self._kept, moment)
            return self._kept[max(0, end - most) : end][::-1]
