"""What moves while jobs are read in pieces, and the totals in spite of it."""

from __future__ import annotations

from job_store.counts import Counts, Totals


class Moves:
    """What moved while something was read in pieces, from the counts that came with each piece.

    What is put back by a replay counts as failed no more.
    """

    def __init__(self, first: Counts) -> None:
        self.first = first
        self._last = first
        self.opened = 0
        self.closed = 0
        self.failed = 0
        self.put_back = 0

    def see(self, now: Counts) -> None:
        """Take the counts that came with a piece."""
        failed = now.failed - self._last.failed
        self.failed += max(0, failed)
        self.put_back += max(0, -failed)
        self.opened += now.accepted - self._last.accepted + max(0, -failed)
        self.closed += now.written - self._last.written + max(0, failed)
        self._last = now

    def totals(self, found_open: int) -> Totals:
        """Return the totals as of the first piece, given what was found open in all of them.

        Of what was open then, some may have been closed before its piece was read, and the other
        way round, so the truth lies within these moves. What they explain is no difference.
        """
        first = self.first
        expected = first.accepted - first.written - first.failed
        in_flight = min(max(expected, found_open - self.opened), found_open + self.closed)
        return Totals(first.accepted, first.written, first.failed, in_flight)
