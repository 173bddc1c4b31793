"""The four numbers that have to add up: accepted = written + failed + in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import redis

from job_store.records import COUNTS_KEY, OPEN_KEY

FIELDS = ("accepted", "written", "failed")

MOST_OPEN = 5000
"""Jobs whose open interactions are summed; Redis does nothing else for 1 to 2 ms then. More are
open only while nothing can be written, and the sum can wait until something is."""

# KEYS 1 counts, 2 open jobs. ARGV 1 most open jobs to sum. Returns the counts and the sum, or -1.
READ = """
local open = -1
if redis.call('HLEN', KEYS[2]) <= tonumber(ARGV[1]) then
  open = 0
  for _, number in ipairs(redis.call('HVALS', KEYS[2])) do
    open = open + number
  end
end
return {redis.call('HMGET', KEYS[1], 'accepted', 'written', 'failed'), open}
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """Interactions of the whole mesh since its Redis began, all as of one moment."""

    accepted: int
    written: int
    failed: int
    in_flight: int

    @property
    def difference(self) -> int:
        """Interactions that were accepted and are nowhere; below zero, those from nowhere."""
        return self.accepted - self.written - self.failed - self.in_flight


@dataclass(frozen=True, slots=True)
class Counts:
    """What Redis counts as it happens."""

    accepted: int
    written: int
    failed: int


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


class TotalsReader:
    """Reads the totals often and cheaply."""

    def __init__(self, client: redis.Redis) -> None:
        self._read = client.register_script(READ)

    def read(self) -> Totals | None:
        """Return the totals, or None while too many jobs are open to be summed.

        Raises redis.RedisError.
        """
        counts, still_open = cast(
            tuple[Sequence[bytes | None], int],
            self._read(keys=[COUNTS_KEY, OPEN_KEY], args=[MOST_OPEN]),
        )
        if still_open < 0:
            return None
        accepted, written, failed = (int(each or 0) for each in counts)
        return Totals(accepted, written, failed, still_open)
