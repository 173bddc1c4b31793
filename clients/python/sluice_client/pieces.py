"""The queue: what was submitted and has no outcome yet, and the pieces in which it is sent."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from sluice_client.errors import Closed, QueueFull, Refused, SpoolFailed, Unanswered
from sluice_client.outcomes import Receipt
from sluice_client.values import delimited

PIECE_SUBMISSIONS = 1000
PIECE_BYTES = 448 * 1024
"""Below what the server records whole under one id, so that a piece is stored or it is not."""
FULL = 500
"""So many submissions go without waiting for more."""
LINGER_SECONDS = 0.005
"""How soon a piece follows another one while submissions come closer together than answers. A lone
submission does not wait."""
LOCK_SECONDS = 1.0
"""How long whoever must not wait may do so for the lock. It is held for a moment only, but by the
very thread that wants it when the garbage collector calls something that logs."""
BELL_SECONDS = 1.0
"""How late a lane notices what it was not called for: the handler of a signal raised just then."""
LONGEST_WAIT_SECONDS = 60.0
SWEEP_SECONDS = 0.25
"""How late a deadline may be noticed."""

log = logging.getLogger("sluice_client")

_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


class Submission:
    """One submission on its way: its bytes as a field of a piece, and who waits for its outcome."""

    __slots__ = ("body", "deadline", "future", "is_named", "is_settled", "row")

    def __init__(self, body: bytes, future: Any, deadline: float, is_named: bool) -> None:
        self.body = body
        self.future = future
        self.deadline = deadline
        """By the monotonic clock."""
        self.is_named = is_named
        """Whether it has a request_id of its own."""
        self.is_settled = False
        self.row: Any = None
        """Where it lies in the spool."""


class Piece:
    """Submissions that are sent together, always the same ones under the same request_id.

    Submissions with request_ids of their own share no other: the contract forbids it.
    """

    __slots__ = (
        "attempts", "body", "first_sent", "is_kept", "is_outdated", "is_sure", "problem",
        "request_id", "submissions",
    )  # fmt: skip

    def __init__(self, submissions: Sequence[Submission], request_id: str | None = None) -> None:
        if request_id is None:
            request_id = "" if submissions[0].is_named else new_request_id()
        self.submissions = submissions
        self.request_id = request_id
        name = delimited(b"\x12", request_id.encode()) if request_id else b""
        self.body = b"".join([each.body for each in submissions]) + name
        self.attempts = 0
        self.first_sent = 0.0
        """When it was sent first, by the monotonic clock; 0 when it was not sent yet."""
        self.is_sure = True
        """Whether it is known what is stored of it: each attempt was answered, or none was made."""
        self.problem = ""
        """Why the last attempt failed."""
        self.is_kept = False
        """Whether a spool, if there is one, knows it."""
        self.is_outdated = False
        """Whether some of it were told that they are not stored: so it must not be sent."""

    @property
    def is_settled(self) -> bool:
        """Whether all of it have their outcomes."""
        return all([each.is_settled for each in self.submissions])  # noqa: C419 - a list is faster


def new_request_id() -> str:
    """Return a request id that nobody else has, and that no detector takes for anything.

    It is one long word, without a digit or a sign.
    """
    return secrets.token_hex(16).translate(_LETTERS)


def cut(waiting: deque[Submission]) -> Iterator[Piece]:
    """Yield pieces of what waits, which is taken out, until nothing does."""
    while waiting:
        submissions = [waiting.popleft()]
        size = len(submissions[0].body)
        while waiting and len(submissions) < PIECE_SUBMISSIONS:
            size += len(waiting[0].body)
            if size > PIECE_BYTES:
                break
            submissions.append(waiting.popleft())
        yield Piece(submissions)


class Spool(Protocol):
    """Keeps what has no outcome for another process, should this one die."""

    def add(self, submission: Submission) -> None:
        """Keep a submission."""

    def keep(self, piece: Piece) -> None:
        """Keep that submissions make up a piece."""

    def forget(self, submissions: Sequence[Submission]) -> None:
        """Keep submissions no longer."""


Outcome = Receipt | Exception
Resolve = Callable[[Sequence[tuple[Any, Outcome]]], None]
"""Tells futures their outcomes."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of everything that was submitted to a client."""

    accepted: int
    refused: int
    failed: int
    """Without an answer in time, or refused with an error that is no refusal of its content."""
    dropped: int
    waiting: int
    """Without an outcome yet."""


class Queue:
    """Everything that has no outcome yet, bounded in count and bytes. Threads share it.

    `resolve` is called without the lock, before there is room for others.
    """

    def __init__(
        self,
        max_submissions: int,
        max_bytes: int,
        resolve: Resolve,
        spool: Spool | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self._max_submissions = max_submissions
        self._max_bytes = max_bytes
        self._resolve = resolve
        self._spool = spool
        self._pause = threading.Condition(self.lock)
        self._waiting: tuple[deque[Submission], deque[Submission]] = (deque(), deque())
        """Without and with a request_id of their own."""
        self._turn = 0
        """Which of the two is cut next."""
        self._pieces: deque[Piece] = deque()
        """Cut before, and to be sent before others."""
        self._in_flight: set[Piece] = set()
        self._idle: list[threading.Condition] = []
        """Lanes that wait for work. The last comes first, so that others' streams become idle."""
        self._is_fetched = False
        """Whether a lane is on its way to fetch what waits."""
        self._is_lingering = False
        """Whether one waits for more to come."""
        self._is_dense = False
        """Whether something came while a piece was on its way, after the last piece was cut."""
        self._last_cut = -math.inf
        self._is_open = True
        self._is_running = False
        self._next_deadline = math.inf
        """No deadline of anything here is earlier."""
        self._count = self._bytes = 0
        self._accepted = self._refused = self._failed = self._dropped = 0
        self._at_change: list[Callable[[], None]] = []
        """Called once when something got its outcome, or nothing more is taken."""

    # What callers do.

    def put(self, submission: Submission, until: float) -> None:
        """Take a submission, as soon as there is room for it.

        Raises QueueFull when there is none until then, by the monotonic clock; 0 is at once. Raises
        Closed and SpoolFailed.
        """
        size = len(submission.body)
        if not until:
            self._look_at_lock()
        while not self._put(submission, size):
            left = until - time.monotonic()
            if left <= 0:
                raise QueueFull("there is no room for another submission")
            self._await_change(lambda: self._lacks_room(size), left)

    def _put(self, submission: Submission, size: int) -> bool:
        """Take a submission if there is room for it; return whether there is."""
        # No acquire(): a signal whose handler raises, right after it, would leave the lock held.
        with self.lock:
            if self._lacks_room(size):
                return False
            if not self._is_open:
                raise Closed("the client is closed")
            if self._spool is not None:
                self._spool.add(submission)
            self._count += 1
            self._bytes += size
            self._waiting[submission.is_named].append(submission)
            if self._in_flight:
                self._is_dense = True
            if submission.deadline < self._next_deadline:
                self._next_deadline = submission.deadline
            if self._idle and not self._is_fetched:
                self._is_fetched = True
                self._idle.pop().notify()
            return True

    def want_room(self, size: int, call: Callable[[], None]) -> None:
        """Call once when there may be room for so many bytes, at once if there is room now."""
        self._call_at_change(lambda: self._lacks_room(size), call)

    def put_pieces(self, pieces: Iterable[Piece]) -> None:
        """Take pieces that were cut before, whether there is room or not."""
        with self.lock:
            for piece in pieces:
                self._pieces.append(piece)
                self._count += len(piece.submissions)
                self._bytes += sum([len(each.body) for each in piece.submissions])
                self._next_deadline = min(
                    self._next_deadline, *[each.deadline for each in piece.submissions]
                )
            self._call_a_lane()

    def drop(self) -> None:
        """Count a submission that was dropped."""
        try:
            self._look_at_lock()
        except QueueFull:
            self._dropped += 1
            return
        with self.lock:
            self._dropped += 1

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything has its outcome; return whether it has."""
        ends = math.inf if timeout is None else time.monotonic() + timeout
        while self._count:
            left = ends - time.monotonic()
            if left <= 0:
                return False
            self._await_change(lambda: self._count > 0, left)
        return True

    def counts(self) -> Counts:
        """Return what became of everything."""
        with self.lock:
            return Counts(self._accepted, self._refused, self._failed, self._dropped, self._count)

    def close(self) -> None:
        """Take nothing more."""
        with self.lock:
            self._is_open = False
            calls, self._at_change = self._at_change, []
        for call in calls:
            call()

    def give_up(self, problem: str, is_kept: bool = False) -> None:
        """Give everything that has no outcome one: that it was not answered.

        It must not be running. `is_kept` is whether a spool keeps it for another time.
        """
        with self.lock:
            outcomes = [
                (each, Unanswered(problem, is_kept or (piece is not None and not piece.is_sure)))
                for each, piece in self._unsettled()
            ]
            self._waiting[0].clear()
            self._waiting[1].clear()
            self._pieces.clear()
            self._in_flight.clear()
        self.settle(outcomes)

    # What lanes do.

    def run(self) -> None:
        """Let lanes take pieces."""
        with self.lock:
            self._is_running = True

    def pause(self) -> None:
        """Give no piece to a lane, until it runs again."""
        with self.lock:
            self._is_running = False
            while self._idle:
                self._idle.pop().notify()
            self._pause.notify_all()

    def take(self) -> tuple[Piece, bool] | None:
        """Wait for the next piece; return it, and whether no lane waits for the next one.

        Returns None when the queue is paused.
        """
        with self.lock:
            has_waited = False
            while self._is_running:
                waiting = len(self._waiting[0]) + len(self._waiting[1])
                if self._pieces:
                    piece = self._pieces.popleft()
                elif waiting and (has_waited or waiting >= FULL or not self._is_lingering):
                    left = self._last_cut + LINGER_SECONDS - time.monotonic()
                    if self._is_dense and left > 0 and waiting < FULL and not has_waited:
                        # More is about to come, and goes together.
                        self._is_lingering = self._is_fetched = has_waited = True
                        self._pause.wait(left)
                        self._is_lingering = False
                        continue
                    piece = self._cut()
                else:
                    has_waited = False
                    if not waiting:
                        self._is_fetched = False
                    bell = threading.Condition(self.lock)
                    self._idle.append(bell)
                    while not bell.wait(BELL_SECONDS) and bell in self._idle and not self._has_work:
                        pass
                    if bell in self._idle:
                        self._idle.remove(bell)
                    continue
                self._is_fetched = False
                self._in_flight.add(piece)
                self._call_a_lane()
                return piece, not self._idle
            return None

    def keep(self, piece: Piece) -> None:
        """Make sure that a spool knows the piece: it may be sent then. Raises SpoolFailed."""
        if self._spool is not None and not piece.is_kept:
            self._spool.keep(piece)
        piece.is_kept = True

    def begin(self, piece: Piece) -> bool:
        """Note that an attempt begins, unless it must not; return whether it does."""
        with self.lock:
            if piece.is_outdated:
                return False
            piece.attempts += 1
            piece.is_sure = False
            return True

    def settle(self, outcomes: Sequence[tuple[Submission, Outcome]]) -> None:
        """Tell what became of submissions, unless that is known already."""
        told = []
        size = accepted = refused = 0
        with self.lock:
            for submission, outcome in outcomes:
                if not submission.is_settled:
                    submission.is_settled = True
                    size += len(submission.body)
                    told.append((submission.future, outcome))
                    if type(outcome) is Receipt:
                        accepted += 1
                    elif isinstance(outcome, Refused):
                        refused += 1
        try:
            self._resolve(told)
        finally:
            with self.lock:
                self._accepted += accepted
                self._refused += refused
                self._failed += len(told) - accepted - refused
                self._count -= len(told)
                self._bytes -= size
                calls, self._at_change = self._at_change, []
            for call in calls:
                call()

    def back(self, piece: Piece) -> None:
        """Note that a lane has done with a piece. What has no outcome is sent again later."""
        is_settled = piece.is_settled
        if is_settled:
            self._forget(piece.submissions)
        with self.lock:
            self._in_flight.discard(piece)
            if not is_settled:
                self._pieces.appendleft(piece)

    def cut_anew(self, piece: Piece) -> Piece:
        """Return a piece of what has no outcome in one of which nothing is stored."""
        with self.lock:
            left = [each for each in piece.submissions if not each.is_settled]
            if not left:
                return piece
            self._in_flight.discard(piece)
            new = Piece(left)
            self._in_flight.add(new)
        self._forget([each for each in piece.submissions if each.is_settled])
        return new

    def expire(self, now: float) -> None:
        """Give what is past its deadline its outcome."""
        with self.lock:
            if now < self._next_deadline:
                return
            late, unsent = [], []
            for each, piece in self._unsettled():
                if each.deadline > now:
                    continue
                is_sure = piece is None or piece.is_sure
                late.append((each, Unanswered(_late(piece), not is_sure)))
                if is_sure:
                    unsent.append(each)
                    if piece is not None:
                        piece.is_outdated = True
            for waiting in self._waiting:
                kept = [each for each in waiting if each.deadline > now]
                waiting.clear()
                waiting.extend(kept)
            self._next_deadline = min(
                [each.deadline for each, _ in self._unsettled() if each.deadline > now],
                default=math.inf,
            )
        self.settle(late)
        # Those of a piece of which something may be stored stay: it is sent as it is.
        self._forget(unsent)

    def _forget(self, submissions: Sequence[Submission]) -> None:
        if self._spool is not None:
            try:
                self._spool.forget(submissions)
            except SpoolFailed as error:
                # What stays there is sent again by the next process, and answered as it was.
                log.warning("%s", error)

    def _look_at_lock(self) -> None:
        """Wait until nobody has the lock. Raises QueueFull when somebody keeps it.

        That is this very thread: only a thread that has not got the lock may wait for it.
        """
        ends = 0.0
        while self.lock.locked():
            now = time.monotonic()
            ends = ends or now + LOCK_SECONDS
            if now > ends:
                raise QueueFull("the queue is in use")
            time.sleep(0.0001)

    @property
    def _has_work(self) -> bool:
        return bool(self._pieces or self._waiting[0] or self._waiting[1])

    def _lacks_room(self, size: int) -> bool:
        return self._is_open and (
            self._count >= self._max_submissions
            or (self._bytes + size > self._max_bytes and self._count > 0)
        )

    def _call_at_change(self, lasts: Callable[[], bool], call: Callable[[], None]) -> None:
        """Call once at the next change, at once if `lasts` is not true any more."""
        with self.lock:
            if lasts():
                self._at_change.append(call)
                return
        call()

    def _await_change(self, lasts: Callable[[], bool], seconds: float) -> None:
        """Wait for the next change while `lasts` is true, at most so many seconds.

        By a lock of its own, since signals come to those who wait here. A Condition takes its lock
        again at the end; a signal whose handler raises meanwhile leaves it without, and what it
        gives back then is the lock of another thread.
        """
        bell = threading.Lock()
        bell.acquire()
        ring = bell.release
        self._call_at_change(lasts, ring)
        # No lock waits for ever, as a deadline may.
        if not bell.acquire(timeout=min(seconds, LONGEST_WAIT_SECONDS)):
            with self.lock, suppress(ValueError):
                self._at_change.remove(ring)

    def _call_a_lane(self) -> None:
        if self._idle and not self._is_fetched and self._has_work:
            self._is_fetched = True
            self._idle.pop().notify()

    def _cut(self) -> Piece:
        waiting = self._waiting[self._turn] or self._waiting[1 - self._turn]
        self._turn = 1 - self._turn
        self._last_cut = time.monotonic()
        self._is_dense = False
        return next(cut(waiting))

    def _unsettled(self) -> Iterator[tuple[Submission, Piece | None]]:
        """Yield what has no outcome, and the piece that it belongs to."""
        for waiting in self._waiting:
            for each in waiting:
                yield each, None
        for piece in chain(self._pieces, self._in_flight):
            for each in piece.submissions:
                if not each.is_settled:
                    yield each, piece


def _late(piece: Piece | None) -> str:
    if piece is None or not piece.attempts:
        return "not sent within the deadline"
    return f"no answer within the deadline; the last attempt: {piece.problem or 'none came'}"
