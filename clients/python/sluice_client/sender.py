"""Sends pieces over streams, each until it is answered, and makes the other calls."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc

from sluice.ingest.v1.ingest_service_pb2 import (
    SubmitBatchResponse,
    SubmitResult,
    SubmitStreamResponse,
)
from sluice_client.errors import CallFailed, SpoolFailed, Unanswered
from sluice_client.outcomes import Failure, Receipt, failed_call, outcome_of
from sluice_client.pieces import SWEEP_SECONDS, Piece, Queue, Submission

SERVICE = "/sluice.ingest.v1.IngestService/"
ATTEMPT_SECONDS = 15.0
"""How long an answer is waited for before the piece is sent again."""
FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 5.0
DETECTION_ATTEMPTS = 3
"""After so many, a submission that the server cannot judge holds up its piece no longer."""
JOIN_SECONDS = 5.0
QUIET_SECONDS = 0.5
CORE_THREADS = ("grpc_", "event_engine", "lifeguard", "timer_manager")
"""How the names of gRPC's own threads begin."""
CHANNEL_OPTIONS = [
    # The default waits for minutes once the server was away for long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A connection of which only this end is left is noticed while calls wait on it.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Pieces are repeated here, where it is known which.
    ("grpc.enable_retries", 0),
]
NOT_STORED = {"QUEUE_FULL", "ALERTS_FULL", "HELD_BACK", "TOO_MANY_CALLS", "DETECTION_FAILED"}
"""Reasons that say that this attempt stored nothing of it."""

UNDETECTED = "DETECTION_FAILED"
FORGOTTEN = "the server may have forgotten it by now, so it is not sent again; it may be stored"
NO_STREAMS_SECONDS = 3600.0
"""How long unary calls are made once one passed where a stream did not."""

Metadata = Sequence[tuple[str, str]]
Answer = TypeVar("Answer")

log = logging.getLogger("sluice_client")


class Sender:
    """The threads and the connection between a queue and a server. Starts and stops any number of
    times; what is unanswered when it stops goes back to the queue.
    """

    def __init__(
        self,
        queue: Queue,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        metadata: Metadata,
        max_lanes: int,
        retention_seconds: float,
    ) -> None:
        self.queue = queue
        self.metadata = tuple(metadata)
        self.retention_seconds = retention_seconds
        self.stopping = threading.Event()
        """Of the lanes of now; those of a later start get another one."""
        self.streams_pass = False
        """Whether an answer came on a stream."""
        self.no_streams_until = -math.inf
        self.channel: grpc.Channel | None = None
        self._target = target
        self._credentials = credentials
        self._max_lanes = max_lanes
        self._lanes: list[_Lane] = []
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._threads: set[threading.Thread] = set()
        """Of gRPC, which end by themselves a moment after what they are for."""
        self._inside = 0
        """Threads of the program that are in a call."""
        self._outside = threading.Condition(self._lock)

    def start(self) -> None:
        """Begin to send. Raises RuntimeError when the interpreter ends and makes no threads."""
        self.stopping = threading.Event()
        self.channel = (
            grpc.insecure_channel(self._target, CHANNEL_OPTIONS)
            if self._credentials is None
            else grpc.secure_channel(self._target, self._credentials, CHANNEL_OPTIONS)
        )
        self.queue.run()
        self._watch = threading.Thread(target=self._look, name="sluice-deadlines", daemon=True)
        self._watch.start()
        self.hire()

    def stop(self) -> None:
        """Send nothing more. Then nothing of gRPC runs any more, so that the process may fork."""
        self.stopping.set()
        self.queue.pause()
        with self._lock:
            lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.break_off()
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.close()
        for thread in [lane.thread for lane in lanes] + [self._watch]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(JOIN_SECONDS)
        self._watch = None
        with self._lock:
            self._outside.wait_for(lambda: not self._inside, JOIN_SECONDS)
            threads = self._threads - {threading.current_thread()}
            self._threads = set()
        for each in threads:
            each.join(JOIN_SECONDS)

    def note_thread(self) -> None:
        """Remember the thread that this is called by, which is one of gRPC."""
        with self._lock:
            self._threads = {each for each in self._threads if each.is_alive()}
            self._threads.add(threading.current_thread())

    def hire(self) -> None:
        """Begin one more lane, unless there are enough."""
        with self._lock:
            if len(self._lanes) < self._max_lanes and not self.stopping.is_set():
                lane = _Lane(self, self._open_channel())
                try:
                    lane.thread.start()
                except RuntimeError:
                    # The interpreter ends: those that are there have to do.
                    return
                self._lanes.append(lane)

    def is_own_thread(self) -> bool:
        """Tell whether the thread that asks is one of the lanes."""
        return any(lane.thread is threading.current_thread() for lane in tuple(self._lanes))

    def unary(self, method: str, request: Any, kind: type[Answer], timeout: float) -> Answer:
        """Make a call that may be repeated, until it is answered. Raises CallFailed."""

        def call(left: float) -> Answer:
            ask = self._open_channel().unary_unary(
                SERVICE + method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=kind.FromString,  # type: ignore[attr-defined]
            )
            answer: Answer = ask(request, timeout=left, metadata=self.metadata)
            return answer

        return self._insist(call, timeout)

    def stream(
        self, method: str, request: Any, kind: type[Answer], timeout: float | None
    ) -> Iterator[Answer]:
        """Make a call whose answer is a stream, once. Raises CallFailed."""
        ask = self._open_channel().unary_stream(
            SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=kind.FromString,  # type: ignore[attr-defined]
        )
        call: Any = ask(request, timeout=timeout, metadata=self.metadata)
        call.add_callback(self.note_thread)
        try:
            while True:
                with self._in_call():
                    answer = next(call, None)
                if answer is None:
                    return
                yield answer
        except grpc.RpcError as error:
            raise failed_call(error).error from None
        finally:
            call.cancel()

    def _insist(self, call: Callable[[float], Answer], timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        attempts = 0
        while True:
            attempts += 1
            left = deadline - time.monotonic()
            try:
                with self._in_call():
                    return call(max(left, 0.001))
            except grpc.RpcError as error:
                failure = failed_call(error)
            except ValueError:
                # The channel was closed, since the process forked: there is another one.
                failure = Failure(CallFailed(grpc.StatusCode.CANCELLED, "", "the channel closed"))
            pause = delay(attempts, failure.retry_after)
            if not failure.is_transient or time.monotonic() + pause > deadline:
                raise failure.error
            time.sleep(pause)

    @contextmanager
    def _in_call(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._outside.notify_all()

    def _open_channel(self) -> grpc.Channel:
        channel = self.channel
        if channel is None:
            raise ValueError("the channel is closed")
        return channel

    def _look(self) -> None:
        """Look after deadlines, of submissions and of attempts, and tell of what failed."""
        stopping = self.stopping
        told = 0
        next_word = -math.inf
        while not stopping.wait(SWEEP_SECONDS):
            now = time.monotonic()
            self.queue.expire(now)
            with self._lock:
                lanes = [lane for lane in self._lanes if lane.overdue < now]
            for lane in lanes:
                lane.is_late = True
                lane.break_off()
            counts = self.queue.counts()
            failed = counts.failed + counts.dropped
            if failed > told and now > next_word:
                log.warning("submissions failed: %d, dropped: %d", counts.failed, counts.dropped)
                told, next_word = failed, now + 10.0


def delay(attempts: int, retry_after: float) -> float:
    """Return how many seconds to wait after so many attempts that failed."""
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 20))
    return max(longest * random.uniform(0.5, 1.0), retry_after * random.uniform(1.0, 1.2))  # noqa: S311


def await_quiet() -> None:
    """Wait until gRPC's own threads have ended, a moment after the last channel was closed.

    One of them may hold a lock at the moment of a fork, and the child would wait for it for ever.
    They do not end while the program has channels besides: then this gives up.
    """
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        # Not Linux: nothing tells.
        time.sleep(QUIET_SECONDS / 10)
        return
    ends = time.monotonic() + QUIET_SECONDS
    while _core_threads(tasks) and time.monotonic() < ends:
        time.sleep(0.001)


def _core_threads(tasks: Path) -> bool:
    for task in tasks.iterdir():
        with suppress(OSError):
            if (task / "comm").read_text().startswith(CORE_THREADS):
                return True
    return False


class _Stream:
    """One SubmitStream, on which one piece at a time is asked about."""

    def __init__(
        self, channel: grpc.Channel, metadata: Metadata, note_thread: Callable[[], None]
    ) -> None:
        self._note_thread = note_thread
        self._is_over = threading.Event()
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        ask: Any = channel.stream_stream(
            SERVICE + "SubmitStream",
            request_serializer=None,
            response_deserializer=SubmitStreamResponse.FromString,
        )
        self.call: Any = ask(self._requests(), metadata=metadata)
        if not self.call.add_callback(self._end):
            self._is_over.set()

    def ask(self, body: bytes) -> Sequence[SubmitResult]:
        """Send a piece, and return the answer. Raises grpc.RpcError and Failure."""
        self._pieces.put(body)
        answer: SubmitStreamResponse | None = next(self.call, None)
        if answer is None:
            raise Failure(CallFailed(grpc.StatusCode.UNAVAILABLE, "", "the stream ended"))
        return answer.results

    def close(self) -> None:
        """End the stream, and the thread of gRPC that waits for what to send."""
        self._pieces.put(None)
        self.call.cancel()
        self._is_over.wait(JOIN_SECONDS)

    def _requests(self) -> Iterator[bytes]:
        self._note_thread()
        while (piece := self._pieces.get()) is not None:
            yield piece

    def _end(self) -> None:
        self._note_thread()
        self._is_over.set()


class _Lane:
    """A thread with a stream of its own, that has one piece at a time on its way."""

    def __init__(self, sender: Sender, channel: grpc.Channel) -> None:
        self._sender = sender
        self._queue = sender.queue
        self._channel = channel
        self._stopping = sender.stopping
        self._stream: _Stream | None = None
        self._call: Any = None
        """What is waited for at the moment."""
        self._doubts_streams = False
        """Whether the last attempt makes it likely that no stream passes."""
        self.is_late = False
        """Whether the attempt of the moment was broken off since it took too long."""
        self.overdue = math.inf
        """When it has."""
        self.thread = threading.Thread(target=self._run, name="sluice-lane", daemon=True)

    def break_off(self) -> None:
        """End the attempt of the moment, from another thread."""
        self.overdue = math.inf
        if (call := self._call) is not None:
            call.cancel()

    def _run(self) -> None:
        while (taken := self._queue.take()) is not None:
            piece, is_last = taken
            if is_last:
                self._sender.hire()
            try:
                piece = self._deliver(piece)
            except Exception as error:
                # A mistake of ours: it must be told, and must not stop the others.
                log.error("a piece could not be sent: %s", type(error).__name__)
                self._queue.settle([(each, error) for each in piece.submissions])
            finally:
                self._queue.back(piece)
            if self._stopping.is_set():
                break
        self._end_stream()

    def _deliver(self, piece: Piece) -> Piece:
        """Send a piece until each of it has its outcome, or until the sender stops.

        Returns the piece in which those are that have none.
        """
        queue, stopping = self._queue, self._stopping
        while not stopping.is_set() and not piece.is_settled:
            now = time.monotonic()
            if piece.attempts and now - piece.first_sent > self._sender.retention_seconds:
                queue.settle([(each, Unanswered(FORGOTTEN, True)) for each in piece.submissions])
                break
            is_reused = self._stream is not None
            was_sure = piece.is_sure
            try:
                if piece.is_outdated:
                    piece = queue.cut_anew(piece)
                queue.keep(piece)
                if not queue.begin(piece):
                    continue
                piece.first_sent = piece.first_sent or now
                results = self._ask(piece)
            except SpoolFailed:
                stopping.wait(LONGEST_DELAY_SECONDS)
                continue
            except Failure as failure:
                piece.problem = failure.error.reason or failure.error.code.name
                piece.is_sure = was_sure and failure.error.reason in NOT_STORED
                if not failure.is_transient:
                    queue.settle([(each, failure.error) for each in piece.submissions])
                elif not is_reused or failure.retry_after:
                    stopping.wait(delay(piece.attempts, failure.retry_after))
                # Otherwise at once on another one: streams end when they were idle, connections
                # when a proxy is replaced.
                continue
            left = self._take_up(piece, results)
            reasons = {failure.error.reason for _, failure in left}
            piece.problem = ", ".join(sorted(reasons))
            piece.is_sure = was_sure and reasons <= NOT_STORED
            if piece.is_sure and piece.attempts >= DETECTION_ATTEMPTS and UNDETECTED in reasons:
                queue.settle(
                    [(each, why.error) for each, why in left if why.error.reason == UNDETECTED]
                )
                piece = queue.cut_anew(piece)
            elif left:
                retry_after = max([failure.retry_after for _, failure in left])
                stopping.wait(delay(piece.attempts, retry_after))
        return piece

    def _take_up(
        self, piece: Piece, results: Sequence[SubmitResult]
    ) -> list[tuple[Submission, Failure]]:
        """Settle what has a final answer; return what is to be sent again, and why."""
        settled: list[tuple[Submission, Receipt | Exception]] = []
        left = []
        for submission, outcome in zip(piece.submissions, map(outcome_of, results), strict=True):
            if not isinstance(outcome, Failure):
                settled.append((submission, outcome))
            elif not outcome.is_transient:
                settled.append((submission, outcome.error))
            elif not submission.is_settled:
                left.append((submission, outcome))
        self._queue.settle(settled)
        return left

    def _ask(self, piece: Piece) -> Sequence[SubmitResult]:
        """Make one attempt. Raises Failure when there is no answer about each submission."""
        sender = self._sender
        by_stream = time.monotonic() > sender.no_streams_until and not self._doubts_streams
        self.is_late = False
        try:
            results = self._by_stream(piece.body) if by_stream else self._by_call(piece.body)
            if len(results) != len(piece.submissions):
                raise Failure(
                    CallFailed(grpc.StatusCode.UNKNOWN, "", "the answer is not about this piece")
                )
        except Failure as failure:
            self._end_stream()
            is_unknown = failure.error.code is grpc.StatusCode.UNIMPLEMENTED
            self._doubts_streams = by_stream and (
                is_unknown or (self.is_late and not sender.streams_pass)
            )
            if by_stream and is_unknown:
                raise Failure(
                    CallFailed(grpc.StatusCode.UNAVAILABLE, "", "streams do not pass")
                ) from None
            raise
        if by_stream:
            sender.streams_pass = True
        elif self._doubts_streams:
            sender.no_streams_until = time.monotonic() + NO_STREAMS_SECONDS
            self._doubts_streams = False
        return results

    def _by_stream(self, body: bytes) -> Sequence[SubmitResult]:
        if self._stream is not None and not self._stream.call.is_active():
            self._end_stream()
        try:
            if self._stream is None:
                try:
                    self._stream = _Stream(
                        self._channel, self._sender.metadata, self._sender.note_thread
                    )
                except RuntimeError:
                    # The interpreter ends and makes no threads, which a stream takes.
                    return self._by_call(body)
            self._begin(self._stream.call)
            return self._stream.ask(body)
        except (grpc.RpcError, ValueError) as error:
            raise _failure(error) from None
        finally:
            self._begin(None)

    def _by_call(self, body: bytes) -> Sequence[SubmitResult]:
        ask: Any = self._channel.unary_unary(
            SERVICE + "SubmitBatch",
            request_serializer=None,
            response_deserializer=SubmitBatchResponse.FromString,
        )
        try:
            # Without a thread of gRPC: there may be none any more.
            answer: SubmitBatchResponse = ask(
                body, timeout=ATTEMPT_SECONDS, metadata=self._sender.metadata
            )
            return answer.results
        except (grpc.RpcError, ValueError) as error:
            raise _failure(error) from None

    def _begin(self, call: Any) -> None:
        self._call = call
        self.overdue = math.inf if call is None else time.monotonic() + ATTEMPT_SECONDS
        if call is not None and self._stopping.is_set():
            call.cancel()

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _failure(error: Exception) -> Failure:
    if isinstance(error, grpc.RpcError):
        return failed_call(error)
    # The channel is closed.
    return Failure(CallFailed(grpc.StatusCode.CANCELLED, "", type(error).__name__))
