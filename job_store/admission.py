"""What is full: how much more may be queued before no further job or alert is taken."""

from __future__ import annotations

import sys
import threading
from typing import Any, cast

from job_store.errors import QueueFull
from job_store.keys import ALERTS, INTERACTIONS
from job_store.metrics import QUEUE_FULL
from job_store.partitions import Partition
from job_store.redis_client import require_durability
from job_store.scripts import script

FULL_SHARE = 0.7
"""Of Redis' memory. At its limit Redis takes no submission any more, and the workers need some to
drain it. Request ids and states are in what it tells as used."""
EDGE_SHARE = 0.5
"""Of the room for alerts: what the alerts about refusals of the gateway may fill, which cost their
sender nothing."""


class Admission:
    """The room that is left: what the last `measure` found, less what this process has added since.

    `max_jobs` is how many jobs may be unfinished before no further one is taken; `max_alerts` and
    `max_alert_bytes` are the same for alerts that could not be told at once. They are for all
    partitions, and each has an equal share. Thread-safe.
    """

    def __init__(
        self,
        partition: Partition,
        *,
        max_jobs: int = sys.maxsize,
        max_alerts: int = sys.maxsize,
        max_alert_bytes: int = sys.maxsize,
    ) -> None:
        self._measure = script(partition.client, "measure")
        self._number = partition.number
        self._max_jobs = -(-max_jobs // partition.count)
        self._max_alerts = -(-max_alerts // partition.count)
        self._max_alert_bytes = max_alert_bytes // partition.count
        self._keys = partition.keys
        self._bytes_left = self._jobs_left = float("inf")
        self._alerts_left = self._alert_bytes_left = float("inf")
        self._has_changed = False
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether no job may be added."""
        return self._bytes_left <= 0 or self._jobs_left <= 0

    @property
    def is_stale(self) -> bool:
        """Whether to measure soon: something was to be added since, or there was no room."""
        return self._has_changed or self.is_full

    def measure(self) -> None:
        """See how full Redis is, and check that it keeps what it acknowledges.

        Raises NotDurable or redis.RedisError.
        """
        self._has_changed = False
        keys = [self._keys.messages(INTERACTIONS), self._keys.messages(ALERTS)]
        jobs, alerts, alert_bytes, *told = cast("list[Any]", self._measure(keys=keys))
        info = {
            name.decode(): value.decode() for name, value in zip(told[::2], told[1::2], strict=True)
        }
        require_durability(info)
        most = int(info["maxmemory"]) or float("inf")
        with self._lock:
            self._bytes_left = FULL_SHARE * most - int(info["used_memory"])
            self._jobs_left = self._max_jobs - jobs
            self._alerts_left = self._max_alerts - alerts
            self._alert_bytes_left = self._max_alert_bytes - alert_bytes
        QUEUE_FULL.labels(self._number).set(self.is_full)

    def add_job(self, size: int) -> None:
        """Count a job of so many bytes, which was let in while it was not full."""
        with self._lock:
            self._has_changed = True
            self._bytes_left -= size
            self._jobs_left -= 1

    def add_alert(self, size: int, *, at_edge: bool) -> None:
        """Let in an alert of so many bytes. Raises QueueFull when there is no room for it.

        Of what the gateway refused, which costs its sender nothing, only the first half of the room
        is for.
        """
        reserved = 1 - EDGE_SHARE if at_edge else 0.0
        with self._lock:
            self._has_changed = True
            if (
                self._alerts_left <= reserved * self._max_alerts
                or self._alert_bytes_left <= reserved * self._max_alert_bytes
                or self._bytes_left <= 0
            ):
                raise QueueFull
            self._alerts_left -= 1
            self._alert_bytes_left -= size
            self._bytes_left -= size
