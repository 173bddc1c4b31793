"""Sends made-up inputs to a running mesh and judges every outcome."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import grpc
from hypothesis import HealthCheck, Phase, given, seed, settings

from deploy.local.mesh import LocalMesh
from sluice.ingest.v1.ingest_service_pb2 import SubmitBatchRequest, SubmitRequest
from tests.fuzz import inputs
from tests.fuzz.rules import require_expected_answer, require_expected_outcome

INGEST = "/sluice.ingest.v1.IngestService"
TIMEOUT_SECONDS = 30.0
UNAVAILABLE = 503

MAX_GROWTH_BYTES = 200 * 1024 * 1024
"""What ingest may take beyond what it had at first: caches of libraries, not inputs."""


class Fuzzer:
    """One mesh under fire. Every method takes how many inputs to make up, and their seed."""

    def __init__(self, mesh: LocalMesh, channel: grpc.Channel) -> None:
        self._mesh = mesh
        self._channel = channel
        self._http: http.client.HTTPConnection | None = None

    def value_trees(self, count: int, start: int) -> None:
        """Submit and scan messages that are well formed and hold anything."""

        def send(submission: SubmitRequest) -> None:
            data = submission.SerializePartialToString()
            self._call(f"{INGEST}/Submit", data)
            self._call(f"{INGEST}/Scan", data)
            batch = SubmitBatchRequest(submissions=[submission] * 2)
            self._call(f"{INGEST}/SubmitBatch", batch.SerializePartialToString())

        _run(inputs.submissions, send, count, start)

    def raw_bytes(self, count: int, start: int) -> None:
        """Call any method with bytes that may be no message."""
        _run(inputs.calls(), lambda call: self._call(call.method, call.data), count, start)

    def streams(self, count: int, start: int) -> None:
        """Stream pieces that may be no messages."""

        def send(pieces: list[bytes]) -> None:
            streaming: Any = self._channel.stream_stream(f"{INGEST}/SubmitStream")
            for _ in range(2):
                call = streaming(iter(pieces), timeout=TIMEOUT_SECONDS)
                answered = 0
                with suppress(grpc.RpcError):
                    for _ in call:
                        answered += 1
                if call.code() is not grpc.StatusCode.UNAVAILABLE:
                    break
                self._mesh.wait_healthy()
            require_expected_outcome(call)
            assert call.code() is not grpc.StatusCode.OK or answered == len(pieces)

        _run(inputs.pieces, send, count, start)

    def rest(self, count: int, start: int) -> None:
        """Make HTTP requests that the contracts describe, or nearly."""

        def send(request: inputs.Request) -> None:
            status, media_type, body = self._request(request)
            require_expected_answer(request.verb, status, media_type, body)

        _run(inputs.requests(), send, count, start)

    def memory(self) -> int:
        """Return how many bytes of memory the ingest service takes."""
        pid = self._mesh.supervisor.pid("ingest_service")
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the ingest service is gone")

    def restarts(self) -> dict[str, int]:
        """Return when each program was started: none may have died."""
        return {name: each["start"] for name, each in self._mesh.supervisor.programs().items()}

    def close(self) -> None:
        """Let go of the gateway."""
        if self._http is not None:
            self._http.close()

    def _call(self, method: str, data: bytes) -> None:
        """Make a call and judge its outcome.

        On a busy machine a health check may time out, and the gateway then says UNAVAILABLE: repeat
        the call. An input that causes it causes it again.
        """
        call = self._outcome(method, data)
        if call.code() is grpc.StatusCode.UNAVAILABLE:
            self._mesh.wait_healthy()
            call = self._outcome(method, data)
        require_expected_outcome(call)

    def _outcome(self, method: str, data: bytes) -> grpc.Call:
        calling: Any = self._channel.unary_stream(method)
        call = calling(data, timeout=TIMEOUT_SECONDS)
        with suppress(grpc.RpcError):
            list(call)
        return cast(grpc.Call, call)

    def _request(self, request: inputs.Request) -> tuple[int, str, bytes]:
        """Make a request; like a call, it is repeated once when the gateway says to."""
        answer = self._answer(request)
        if answer[0] == UNAVAILABLE:
            self._mesh.wait_healthy()
            answer = self._answer(request)
        return answer

    def _answer(self, request: inputs.Request) -> tuple[int, str, bytes]:
        if self._http is None:
            self._http = http.client.HTTPConnection(self._mesh.gateway, timeout=TIMEOUT_SECONDS)
        try:
            self._http.request(request.verb, request.path, request.body, request.headers)
            answer = self._http.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError):
            self.close()
            self._http = None
            raise
        if answer.will_close:
            self.close()
            self._http = None
        return answer.status, answer.getheader("content-type", ""), body


@contextmanager
def fuzzer_of(mesh: LocalMesh) -> Iterator[Fuzzer]:
    """Give a fuzzer of a running mesh."""
    with grpc.insecure_channel(mesh.gateway) as channel:
        fuzzer = Fuzzer(mesh, channel)
        yield fuzzer
        fuzzer.close()


def _run(strategy: Any, send: Callable[[Any], None], count: int, start: int) -> None:
    """Send so many inputs. A failure is made as small as it goes, and raised."""
    limits = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    made_up: Any = given(strategy)
    run: Any = seed(start)(limits(made_up(send)))
    run()
