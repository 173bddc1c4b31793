"""Why something was not stored."""

from __future__ import annotations

import redis

from mesh.health import Unhealthy


class QueueFull(Exception):
    """As much is waiting as may, and nothing was taken."""


class QueueUnavailable(Exception):
    """Redis did not confirm. What was asked for may have happened all the same."""


class NotDurable(Unhealthy, redis.ConnectionError):
    """This Redis may lose or evict what it acknowledges."""
