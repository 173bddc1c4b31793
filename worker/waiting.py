"""Waiting for another part to come back, without losing the job in hand and without a stampede."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from mesh.logs import logger

log = logger("worker.waiting")

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 3.0

EXIT_CRASHED = 75
"""EX_TEMPFAIL: start me again."""

Result = TypeVar("Result")


class Interrupted(Exception):
    """The process is stopping; the job in hand goes back to the queue."""


class Outage(Exception):
    """Another part did not take a call that it may take later.

    `reason` is an UPPER_SNAKE_CASE class, `advice` a sentence for the operator when waiting alone
    will not help. Neither holds anything that was sent or answered.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


class Stop:
    """Tells every thread of the process that it is stopping."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._calls: list[Callable[[], None]] = []

    @property
    def asked(self) -> bool:
        """Whether the process is stopping."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Stop: end every wait."""
        self._asked.set()
        for call in self._calls:
            call()

    def when_asked(self, call: Callable[[], None]) -> None:
        """Have `call` made once the process stops."""
        self._calls.append(call)

    def wait(self, seconds: float) -> None:
        """Wait. Raises Interrupted when the process stops meanwhile."""
        if self._asked.wait(seconds):
            raise Interrupted

    def crash(self, reason: str, error: BaseException | None = None) -> None:
        """End the process now, without giving anything back.

        What it held goes to other workers once its heartbeat is old. This is the only safe answer
        when it is unknown what Redis has handed to us. A process that is stopping anyway has
        nothing more to do, so it ends as asked.
        """
        log.error("worker exits", reason=reason, exc_info=error)
        sys.stdout.flush()
        os._exit(0 if self.asked else EXIT_CRASHED)


class Breaker:
    """Guards another part that is called from several threads.

    While the part works, everyone passes. Once a call failed, the others wait, and one at a time
    may try again, after a growing and randomized wait, until a call succeeds.
    """

    def __init__(self, part: str, stop: Stop) -> None:
        self._part = part
        self._stop = stop
        self._changed = threading.Condition()
        self._failures = 0
        self._reason = ""
        self._next_trial = 0.0
        self._trying = False
        stop.when_asked(self._wake)

    @property
    def reason(self) -> str:
        """The class of the last failure, empty while the part works."""
        return self._reason

    def call(self, attempt: Callable[[], Result]) -> Result:
        """Make one call to the part as soon as it is this caller's turn, and return its result.

        Raises Outage when the part did not take the call, Interrupted when the process stops while
        it is not this caller's turn, and what else `attempt` raises.
        """
        trial = self._await_turn()
        try:
            result = attempt()
        except Outage as outage:
            self._failed(outage)
            raise
        except Exception:
            # Whatever this is, the part answered.
            self._succeeded()
            raise
        if trial or self._reason:
            self._succeeded()
        return result

    def _await_turn(self) -> bool:
        """Return whether the call is a trial of a part that failed before."""
        with self._changed:
            while self._reason:
                if self._stop.asked:
                    raise Interrupted
                wait = self._next_trial - time.monotonic()
                if wait <= 0 and not self._trying:
                    self._trying = True
                    return True
                self._changed.wait(None if self._trying else wait)
        return False

    def _succeeded(self) -> None:
        with self._changed:
            recovered = self._reason
            self._failures = 0
            self._reason = ""
            self._trying = False
            self._changed.notify_all()
        if recovered:
            log.info("part is back", part=self._part, after=recovered)

    def _failed(self, outage: Outage) -> None:
        with self._changed:
            news = outage.reason != self._reason
            self._reason = outage.reason
            longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**self._failures)
            self._failures = min(self._failures + 1, 10)
            # The spread keeps the workers of a mesh from coming back all at once.
            self._next_trial = time.monotonic() + random.uniform(longest / 2, longest)  # noqa: S311
            self._trying = False
            self._changed.notify_all()
        if not news:
            return
        if outage.advice:
            log.error(
                "part is misconfigured", part=self._part, reason=outage.reason, advice=outage.advice
            )
        else:
            log.warning("part is unavailable", part=self._part, reason=outage.reason)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
