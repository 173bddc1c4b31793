"""How an actor says that no repetition will get a message through."""

from __future__ import annotations

UNDECODABLE = "UNDECODABLE"


class DeadLetter(Exception):
    """Raised by an actor whose message no repetition will get through.

    `reason` is an UPPER_SNAKE_CASE class, `failed` how many interactions are counted as failed.
    """

    def __init__(self, reason: str, failed: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failed = failed
