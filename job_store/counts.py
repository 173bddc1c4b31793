"""The four numbers that have to add up: accepted = written + failed + in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import redis

from job_store.keys import ONLY, Keys
from job_store.scripts import script

FIELDS = ("accepted", "written", "failed")

MOST_OPEN = 5000
"""Jobs whose open interactions are summed; Redis does nothing else for 1 to 2 ms then. More are
open only while nothing can be written, and the sum can wait until something is."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What Redis counts as it happens, in interactions since it began."""

    accepted: int
    written: int
    failed: int

    @classmethod
    def of(cls, numbers: Any) -> Self:
        """Return the counts of what Redis answers when asked for FIELDS."""
        return cls(*(int(number or 0) for number in numbers))

    @classmethod
    def sum(cls, every: Sequence[Counts]) -> Self:
        """Return what several partitions count together."""
        return cls(
            sum(each.accepted for each in every),
            sum(each.written for each in every),
            sum(each.failed for each in every),
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Interactions of the whole mesh since its Redis began, all as of one moment."""

    accepted: int
    written: int
    failed: int
    in_flight: int

    @classmethod
    def sum(cls, every: Sequence[Totals]) -> Self:
        """Return the totals of several partitions together."""
        return cls(
            sum(each.accepted for each in every),
            sum(each.written for each in every),
            sum(each.failed for each in every),
            sum(each.in_flight for each in every),
        )

    @property
    def difference(self) -> int:
        """Interactions that were accepted and are nowhere; below zero, those from nowhere."""
        return self.accepted - self.written - self.failed - self.in_flight


class CountsReader:
    """Reads the counts and the totals often and cheaply. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis, keys: Keys = ONLY) -> None:
        self._client = client
        self._keys = keys
        self._read_totals = script(client, "totals")

    def counts(self) -> Counts:
        """Return what Redis counts."""
        return Counts.of(self._client.hmget(self._keys.counts, list(FIELDS)))

    def totals(self) -> Totals | None:
        """Return the totals, or None while too many jobs are open to be summed."""
        keys = [self._keys.counts, self._keys.open_jobs]
        numbers, still_open = cast(
            tuple[Sequence[bytes | None], int], self._read_totals(keys=keys, args=[MOST_OPEN])
        )
        if still_open < 0:
            return None
        counts = Counts.of(numbers)
        return Totals(counts.accepted, counts.written, counts.failed, still_open)
