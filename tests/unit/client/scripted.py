"""A server that answers pieces as a test says, and remembers them as the contract has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from mesh.errors import CallError
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import (
    IngestServiceServicer,
    add_IngestServiceServicer_to_server,
)
from sluice.verdict.v1.verdict_pb2 import VERDICT_ACCEPTED, VERDICT_REJECTED

Piece = ingest.SubmitStreamRequest | ingest.SubmitBatchRequest
Script = Callable[["Server", Piece], Sequence[ingest.SubmitResult]]


class LostAnswer(Exception):
    """The piece was stored, and nobody is told."""


def unavailable(reason: str = "QUEUE_UNAVAILABLE") -> CallError:
    return CallError(grpc.StatusCode.UNAVAILABLE, reason, "Repeat it.")


def full(retry_after: float) -> CallError:
    return CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", "Wait.", retry_after=retry_after
    )


def failed(error: CallError) -> ingest.SubmitResult:
    """Return the result of a submission that came to an error."""
    result = ingest.SubmitResult(error=error.status("call-1"))
    if error.code is grpc.StatusCode.INVALID_ARGUMENT:
        result.verdict = VERDICT_REJECTED
    return result


class Server(IngestServiceServicer):
    """Answers by `script`; stores, by default, and answers repeated pieces as it did before."""

    def __init__(self) -> None:
        self.script: Script = Server.store
        self.pieces: list[Piece] = []
        """Every piece that came, repeated ones as well."""
        self.stored: dict[str, Sequence[ingest.SubmitResult]] = {}
        self.bodies: dict[str, bytes] = {}
        self.rows: list[Any] = []
        """What was submitted, once for each time that it was stored."""
        self.streams = 0
        self.has_streams = True
        self.is_silent = False
        self._lock = threading.Lock()

    def store(self, piece: Piece) -> Sequence[ingest.SubmitResult]:
        """Take a piece, or answer as before."""
        with self._lock:
            if piece.request_id:
                body = piece.SerializeToString(deterministic=True)
                assert self.bodies.setdefault(piece.request_id, body) == body, "another body"
                if piece.request_id in self.stored:
                    return self.stored[piece.request_id]
            results: list[ingest.SubmitResult] = []
            for each in piece.submissions:
                name = each.request_id
                if name and name in self.stored:
                    results += self.stored[name]
                    continue
                result = ingest.SubmitResult(
                    verdict=VERDICT_ACCEPTED, task_id=f"task-{len(self.rows)}"
                )
                self.rows.append(value_of(each))
                results.append(result)
                if name:
                    self.stored[name] = [result]
            if piece.request_id:
                self.stored[piece.request_id] = results
            return results

    def SubmitStream(
        self, requests: Iterator[ingest.SubmitStreamRequest], context: Any
    ) -> Iterator[ingest.SubmitStreamResponse]:
        if not self.has_streams:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams here")
        self.streams += 1
        for request in requests:
            while self.is_silent and context.is_active():
                threading.Event().wait(0.02)
            yield ingest.SubmitStreamResponse(results=self._answer(request, context))

    def SubmitBatch(
        self, request: ingest.SubmitBatchRequest, context: Any
    ) -> ingest.SubmitBatchResponse:
        return ingest.SubmitBatchResponse(results=self._answer(request, context))

    def _answer(self, piece: Piece, context: Any) -> Sequence[ingest.SubmitResult]:
        self.pieces.append(piece)
        try:
            return self.script(self, piece)
        except LostAnswer:
            self.store(piece)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        except CallError as error:
            details = error.status("call-1").SerializeToString()
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(error.code, error.message)
        raise AssertionError


def value_of(submission: ingest.SubmitRequest) -> Any:
    """Return what was submitted: a number or a text."""
    data = submission.data
    return data.number_value if data.HasField("number_value") else data.string_value


@contextmanager
def serving(server: Server, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Serve, and yield the address."""
    grpc_server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
    add_IngestServiceServicer_to_server(server, grpc_server)
    port = grpc_server.add_insecure_port(address)
    grpc_server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        grpc_server.stop(None).wait()
