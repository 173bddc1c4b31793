"""What both clients are made of: the queue, the sender, the spool, and how they begin and end."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypedDict

import grpc

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice_client.errors import CallFailed, Closed, Dropped, InvalidValue, QueueFull, SpoolFailed
from sluice_client.outcomes import TRANSIENT
from sluice_client.pieces import Queue, Resolve, Submission
from sluice_client.sender import Metadata, Sender, await_quiet, delay
from sluice_client.spool import SpoolFolder
from sluice_client.values import delimited, encode

MAX_BYTES = 1024 * 1024
"""Of one submission, as the contract has it."""
CALL_SECONDS = 30.0
CLOSE_SECONDS = 10.0
FINAL = frozenset({ingest.TASK_STATE_SUCCEEDED, ingest.TASK_STATE_FAILED})

log = logging.getLogger("sluice_client")


WhenFull = Literal["block", "raise", "drop"]


class Options(TypedDict, total=False):
    """What a client may be told beside its target."""

    source: str
    """The source of what is submitted without one."""
    deadline: float
    """Seconds within which a submission has its outcome, unless it is told otherwise (300)."""
    when_full: WhenFull
    """What `submit` does when there is no room: wait for some until the deadline (the default),
    raise QueueFull at once, or drop the submission, count it and call `on_dropped`."""
    on_dropped: Callable[[Any], None]
    """Called with the data of each submission that is dropped."""
    max_submissions: int
    """How many may be without an outcome at one moment (20,000)."""
    max_bytes: int
    """How many bytes they may have (32 MiB)."""
    spool: str | os.PathLike[str]
    """A folder in which everything without an outcome is kept on disk, so that the next client with
    this folder sends it, should the process die. Processes may share it. Off by default."""
    credentials: grpc.ChannelCredentials
    """Of TLS; without it the connection is not encrypted."""
    metadata: Metadata
    """Sent with each call."""
    streams: int
    """The most pieces in flight at one moment (4)."""
    retention: float
    """Seconds for which the server knows request ids (a day)."""


class Core:
    """One queue and its sender. They begin with the first use, and again after a fork."""

    def __init__(
        self, target: str, options: Options, resolve: Resolve, future: Callable[[], Any]
    ) -> None:
        known = Options.__optional_keys__
        if unknown := options.keys() - known:
            raise TypeError(f"a client knows {', '.join(sorted(known))}, not {min(unknown)}")
        self.when_full = options.get("when_full", "block")
        if self.when_full not in ("block", "raise", "drop"):
            raise ValueError('when_full is "block", "raise" or "drop"')
        self._target = target
        self._options = options
        self._resolve = resolve
        self._future = future
        self._deadline = options.get("deadline", 300.0)
        self._source = _field(b"\x12", "/source", options.get("source", ""))
        self._on_dropped = options.get("on_dropped")
        self._is_started = False
        self._is_closed = False
        self._finalizer: Any = None
        self.recovered: list[Any] = []
        """Futures of what the spool still held of processes that died."""
        self._begin()
        _cores.add(self)
        atexit.register(self.close)

    def _begin(self) -> None:
        options = self._options
        self._lock = threading.RLock()
        """Held by whoever starts, stops or forks."""
        retention = options.get("retention", 86400.0)
        folder = options.get("spool")
        self._spool = None if folder is None else SpoolFolder(Path(folder))
        self.queue = Queue(
            options.get("max_submissions", 20_000),
            options.get("max_bytes", 32 * 1024 * 1024),
            self._resolve,
            self._spool,
        )
        self.sender = Sender(
            self.queue,
            self._target,
            options.get("credentials"),
            options.get("metadata", ()),
            options.get("streams", 4),
            retention,
        )

    def start(self) -> None:
        """Begin to send, unless that has begun. Raises Closed and SpoolFailed."""
        if self._is_started and not self._is_closed:
            return
        with self._lock:
            if self._is_closed:
                raise Closed("the client is closed")
            if self._is_started:
                return
            if self._spool is not None:
                pieces = self._spool.begin(self._future, time.monotonic() + self._deadline)
                self.recovered = [each.future for piece in pieces for each in piece.submissions]
                self.queue.put_pieces(pieces)
            try:
                self.sender.start()
            except RuntimeError:
                raise Closed("the interpreter ends") from None
            self._is_started = True
            # Children that multiprocessing made by forking leave without calling atexit.
            if (multiprocessing := sys.modules.get("multiprocessing.util")) is not None:
                self._finalizer = multiprocessing.Finalize(None, self.close, exitpriority=0)

    def submission(
        self, data: object, source: str | None, request_id: str | None, deadline: float | None,
        future: Any,
    ) -> Submission:  # fmt: skip
        """Return a submission, ready to be sent. Raises InvalidValue."""
        body = delimited(b"\x0a", encode(data))
        body += self._source if source is None else _field(b"\x12", "/source", source)
        if request_id:
            body += _field(b"\x1a", "/request_id", request_id)
        if len(body) > MAX_BYTES:
            raise InvalidValue("the submission is longer than 1 MiB", "/data")
        seconds = self._deadline if deadline is None else deadline
        return Submission(
            delimited(b"\x0a", body), future, time.monotonic() + seconds, bool(request_id)
        )

    def put(
        self, submission: Submission, data: object, when_full: WhenFull, may_block: bool = True
    ) -> bool:
        """Put a submission into the queue; return False when it was dropped instead.

        Raises QueueFull and Closed.
        """
        self.start()
        # A lane would wait for itself.
        is_waited = when_full == "block" and may_block and not self.sender.is_own_thread()
        try:
            self.queue.put(submission, submission.deadline if is_waited else 0.0)
        except QueueFull:
            if when_full != "drop":
                raise
            self.queue.drop()
            if self._on_dropped is not None:
                self._on_dropped(data)
            return False
        return True

    def offer(self, data: object) -> None:
        """Submit something whose outcome nobody waits for, or drop it. Raises InvalidValue."""
        with suppress(Closed):
            self.put(self.submission(data, None, None, None, None), data, "drop")

    def scan(self, request: ingest.ScanRequest, timeout: float) -> ingest.ScanResponse:
        """Tell what would be decided. Raises CallFailed."""
        self.start()
        return self.sender.unary("Scan", request, ingest.ScanResponse, timeout)

    def status(self, task_id: str, timeout: float) -> ingest.GetStatusResponse:
        """Tell where a task stands. Raises CallFailed."""
        self.start()
        request = ingest.GetStatusRequest(task_id=task_id)
        return self.sender.unary("GetStatus", request, ingest.GetStatusResponse, timeout)

    def watch(self, task_id: str, timeout: float | None) -> Iterator[ingest.GetStatusResponse]:
        """Yield where a task stands, until its state is final. Raises CallFailed."""
        self.start()
        request = ingest.WatchStatusRequest(task_id=task_id)
        for each in self.sender.stream("WatchStatus", request, ingest.WatchStatusResponse, timeout):
            yield each.task

    def wait(self, task_id: str, timeout: float) -> ingest.GetStatusResponse:
        """Wait until the state of a task is final. Raises CallFailed."""
        deadline = time.monotonic() + timeout
        attempts = 0
        while True:
            attempts += 1
            try:
                for task in self.watch(task_id, max(deadline - time.monotonic(), 0.001)):
                    if task.state in FINAL:
                        return task
            except CallFailed as error:
                if error.code not in TRANSIENT:
                    raise
            pause = delay(attempts, 0.0)
            if time.monotonic() + pause > deadline:
                raise CallFailed(
                    grpc.StatusCode.DEADLINE_EXCEEDED, "", "the task has no final state yet"
                )
            time.sleep(pause)

    def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Take nothing more, wait until everything has its outcome or the time is over, and stop.

        What has none by then is not answered any more, and stays in the spool if there is one.
        """
        self.queue.close()
        with self._lock:
            if self._is_closed:
                return
            try:
                if self._is_started:
                    self.queue.flush(timeout)
            finally:
                self._is_closed = True
                if self._is_started:
                    self.sender.stop()
                left = self.queue.counts().waiting
                if left:
                    log.warning("closed while %d submissions had no answer", left)
                self.queue.give_up(
                    "the client closed before there was an answer; "
                    + ("it is in the spool" if self._spool else "it may be stored"),
                    self._spool is not None,
                )
                if self._spool is not None:
                    self._spool.close()
                _cores.discard(self)
                atexit.unregister(self.close)
                if self._finalizer is not None:
                    self._finalizer.cancel()

    @property
    def is_sending(self) -> bool:
        """Whether it has begun and not ended."""
        return self._is_started and not self._is_closed

    def before_fork(self) -> None:
        """Stop, so that the child gets no half of a connection: gRPC does not survive a fork."""
        self._lock.acquire()
        if self.is_sending:
            self.sender.stop()
        self.queue.lock.acquire()
        if self._spool is not None:
            try:
                self._spool.before_fork()
            except SpoolFailed as error:
                log.error("%s", error)

    def after_fork_in_parent(self) -> None:
        """Go on, also when the spool cannot: then `submit` says so."""
        try:
            if self._spool is not None:
                self._spool.after_fork_in_parent()
        except SpoolFailed as error:
            log.error("%s", error)
        finally:
            self.queue.lock.release()
            if self.is_sending:
                self.sender.start()
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: everything in the queue is the parent's, which sends it."""
        if self._spool is not None:
            self._spool.after_fork_in_child()
        self._is_started = False
        self.recovered = []
        if self._is_closed:
            self._lock = threading.RLock()
        else:
            self._begin()


def dropped() -> Dropped:
    """Return what a dropped submission comes to."""
    return Dropped("there was no room for the submission")


def _field(tag: bytes, path: str, text: str) -> bytes:
    try:
        return delimited(tag, text.encode()) if text else b""
    except UnicodeEncodeError:
        raise InvalidValue("the text holds lone surrogates, which have no UTF-8", path) from None


_cores: weakref.WeakSet[Core] = weakref.WeakSet()
_forking: list[Core] = []


def _before_fork() -> None:
    _forking[:] = list(_cores)
    for core in _forking:
        core.before_fork()
    if any(core.is_sending for core in _forking):
        await_quiet()


def _after_fork_in_parent() -> None:
    for core in _forking:
        core.after_fork_in_parent()
    _forking.clear()


def _after_fork_in_child() -> None:
    for core in _forking:
        core.after_fork_in_child()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
