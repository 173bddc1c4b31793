"""The client for programs with threads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Self, Unpack

from google.protobuf.struct_pb2 import Value

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice_client.core import CALL_SECONDS, CLOSE_SECONDS, Core, Options, dropped
from sluice_client.errors import SluiceError
from sluice_client.outcomes import Receipt
from sluice_client.pieces import Counts, Outcome
from sluice_client.values import encode

log = logging.getLogger("sluice_client")


class Client:
    """Submits events to the Sluice at `target` (`host:port`), and asks what became of them.

    Any thread may use it. `submit` returns at once; what has been submitted is sent by threads of
    the client, in pieces, each repeated under one request_id until it is answered. Options are
    those of `sluice_client.Options`. Use it as a context manager, or close it.
    """

    def __init__(self, target: str, **options: Unpack[Options]) -> None:
        self._core = Core(target, options, _resolve, Future)

    def submit(
        self,
        data: object,
        *,
        source: str | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
    ) -> Future[Receipt]:
        """Submit an event; return a future of its receipt.

        The future raises Refused, Unanswered, CallFailed or Dropped instead. Cancelling it does not
        take the submission back. `submit` itself raises InvalidValue for what cannot be sent;
        QueueFull, after the deadline in seconds or at once, as `when_full` says; and Closed. With a
        `request_id` the submission may be made again, by another process too: it is stored once.
        """
        future: Future[Receipt] = Future()
        core = self._core
        submission = core.submission(data, source, request_id, deadline, future)
        if not core.put(submission, data, core.when_full):
            future.set_exception(dropped())
        return future

    def submit_now(
        self,
        data: object,
        *,
        source: str | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
    ) -> Receipt:
        """Submit an event and wait for its receipt. Raises what `submit` and its future raise."""
        return self.submit(data, source=source, request_id=request_id, deadline=deadline).result()

    def submit_many(
        self, events: Iterable[object], *, source: str | None = None, deadline: float | None = None
    ) -> list[Future[Receipt]]:
        """Submit events; return their futures, in order.

        What `submit` raises about one of them, its future raises: the others have theirs.
        """
        futures = []
        for each in events:
            try:
                future = self.submit(each, source=source, deadline=deadline)
            except SluiceError as error:
                future = Future()
                future.set_exception(error)
            futures.append(future)
        return futures

    def scan(
        self, data: object, *, source: str = "", timeout: float = CALL_SECONDS
    ) -> ingest.ScanResponse:
        """Tell what would be decided about an event, and put nothing on record.

        Raises InvalidValue and CallFailed.
        """
        request = ingest.ScanRequest(data=Value.FromString(encode(data)), source=source)
        return self._core.scan(request, timeout)

    def status(self, task_id: str, *, timeout: float = CALL_SECONDS) -> ingest.GetStatusResponse:
        """Tell where a task stands. Raises CallFailed."""
        return self._core.status(task_id, timeout)

    def watch(
        self, task_id: str, *, timeout: float | None = None
    ) -> Iterator[ingest.GetStatusResponse]:
        """Yield where a task stands, now and at each change, until its state is final.

        Raises CallFailed, with DEADLINE_EXCEEDED after `timeout` seconds.
        """
        return self._core.watch(task_id, timeout)

    def wait(self, task_id: str, *, timeout: float = CALL_SECONDS) -> ingest.GetStatusResponse:
        """Wait until the state of a task is final, and return it.

        Raises CallFailed, with DEADLINE_EXCEEDED after `timeout` seconds.
        """
        return self._core.wait(task_id, timeout)

    @property
    def counts(self) -> Counts:
        """What became of everything that was submitted."""
        return self._core.queue.counts()

    def recovered(self) -> Sequence[Future[Receipt]]:
        """Return futures of what the spool held of processes that died. It starts the client."""
        self._core.start()
        return tuple(self._core.recovered)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was submitted has its outcome; return whether it has."""
        return self._core.queue.flush(timeout)

    def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Flush, and stop. What has no outcome after `timeout` seconds gets Unanswered."""
        self._core.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _resolve(outcomes: Sequence[tuple[Future[Receipt] | None, Outcome]]) -> None:
    for future, outcome in outcomes:
        if future is None:
            continue
        try:
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        except InvalidStateError:
            # Whoever had it has cancelled it.
            continue
        except BaseException as error:
            # A callback ends with SystemExit or the like; the others want their outcomes still.
            log.error("a callback failed: %s", type(error).__name__)
