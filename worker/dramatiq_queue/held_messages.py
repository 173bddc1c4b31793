"""Messages for actors that this worker does not have, kept from the queue for a moment.

They are for workers of a later version, which a deployment starts soon. Held, a message neither
goes round as fast as it can nor takes the place of messages that can be carried out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

HELD_SECONDS = 1.0
"""How long a message is held before it goes to the end of the queue."""
MAX_HELD = 1000


class HeldMessages:
    """The ids of the messages that are held, each with the time at which that ends."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def hold(self, redis_id: bytes) -> bool:
        """Hold a message, unless MAX_HELD are held; return whether it is held."""
        if len(self._until) >= MAX_HELD:
            return False
        self._until[redis_id] = time.monotonic() + HELD_SECONDS
        return True

    def due(self) -> list[bytes]:
        """Return the ids of the messages that have been held for long enough."""
        now = time.monotonic()
        return [redis_id for redis_id, until in self._until.items() if until <= now]

    def all(self) -> list[bytes]:
        """Return the ids of all messages that are held."""
        return list(self._until)

    def release(self, redis_ids: Iterable[bytes]) -> None:
        """Hold these messages no longer; ids that are not held do no harm."""
        for redis_id in redis_ids:
            self._until.pop(redis_id, None)
