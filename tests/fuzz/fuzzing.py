"""Sends made-up inputs to a running mesh and judges every outcome."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from hypothesis import HealthCheck, Phase, given, seed, settings

from deploy.local.mesh import LocalMesh
from detection.policy_file import PACKAGED_POLICY
from sluice.ingest.v1.ingest_service_pb2 import (
    ScanRequest,
    ScanResponse,
    SubmitBatchRequest,
    SubmitBatchResponse,
    SubmitRequest,
    SubmitResult,
)
from tests.fuzz import inputs, odd
from tests.fuzz.kept import Kept
from tests.fuzz.rules import (
    LARGEST_ANSWER_BYTES,
    LARGEST_REPORT_BYTES,
    MOST_SECONDS_PER_KIB,
    require_as_told,
    require_expected_answer,
    require_expected_outcome,
    require_expected_row,
    require_expected_verdict,
    require_nothing_planted,
)
from tests.kit.waiting import eventually

INGEST = "/sluice.ingest.v1.IngestService"
TIMEOUT_SECONDS = 30.0
UNAVAILABLE = 503

ODD_AT_ONCE = 5
"""Odd submissions that one batch holds on average."""
ROWS_SECONDS = 30.0
"""Within which what was answered is on record."""

MAX_GROWTH_BYTES = 200 * 1024 * 1024
"""What ingest may take beyond what it had at first: caches of libraries, not inputs."""


class Fuzzer:
    """One mesh under fire. Every method takes how many inputs to make up, and their seed."""

    def __init__(self, mesh: LocalMesh, channel: grpc.Channel) -> None:
        self._mesh = mesh
        self._channel = channel
        self._kept = Kept(mesh)
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

    def odd_submissions(self, count: int, start: int) -> None:
        """Submit what is odd by its measure under policies that refuse, mask and note; compare what
        is told with what is kept.
        """
        part = max(1, count // ODD_AT_ONCE // len(odd.ACTIONS))
        for action in odd.ACTIONS:
            self._adopt(action)
            _run(odd.odd_batches, self._judge_by(action), part, start)

    def large_batches(self, count: int, start: int) -> None:
        """Submit as much as fits into a batch, much of it refused, over gRPC and REST."""
        self._adopt("reject")
        for batch in odd.large_batches(count, start):
            content = {"submissions": batch.submissions()}
            if batch.over_rest:
                since, answer = self._submit_json(json.dumps(content).encode())
            else:
                request = json_format.ParseDict(content, SubmitBatchRequest())
                since, answer = self._submit_batch(request)
            assert (answer.accepted, answer.rejected) == (batch.accepted, batch.refused)
            rows = self._kept.rows(since, batch.accepted + batch.refused, ROWS_SECONDS)
            require_as_told(rows, _task_ids(answer), _alert_ids(answer))

    def repetitions(self, count: int, start: int) -> None:
        """Scan texts that repeat what patterns look for, and count ingest's processor time."""
        for text in odd.repetitions(count, start):
            request = ScanRequest()
            request.data.string_value = text
            before = self._processor_seconds()
            self._call(f"{INGEST}/Scan", request.SerializeToString())
            spent = self._processor_seconds() - before
            assert spent < MOST_SECONDS_PER_KIB * len(text) / 1024, (spent, text[:20])

    def memory(self) -> int:
        """Return how many bytes of memory the ingest service has taken at most."""
        pid = self._mesh.supervisor.pid("ingest_service")
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the ingest service is gone")

    def restarts(self) -> dict[str, int]:
        """Return when each program was started: none may have died."""
        return {name: each["start"] for name, each in self._mesh.supervisor.programs().items()}

    def close(self) -> None:
        """Let go of the gateway."""
        if self._http is not None:
            self._http.close()

    def _adopt(self, action: str) -> None:
        """Change the policy and wait until it is in force."""
        policy_of(self._mesh).write_text(odd.policy(action))
        scan: Any = self._channel.unary_unary(f"{INGEST}/Scan")
        request = ScanRequest()
        request.data.string_value = f"{odd.PROBE} {action}"
        eventually(
            lambda: ScanResponse.FromString(scan(request.SerializeToString())).findings,
            otherwise="the policy was not taken up",
            ignoring=(),
        )

    def _judge_by(self, action: str) -> Callable[[list[odd.Odd]], None]:
        """Return what submits odd batches and judges them by a policy."""

        def send(batch: list[odd.Odd]) -> None:
            request = SubmitBatchRequest(submissions=[each.submission for each in batch])
            since, answer = self._submit_batch(request)
            assert len(answer.results) == len(batch)
            for each, result in zip(batch, answer.results, strict=True):
                require_expected_verdict(each, result, action)
            self._require_kept(batch, answer, since, action)

        return send

    def _submit_batch(self, request: SubmitBatchRequest) -> tuple[int, SubmitBatchResponse]:
        """Return when the call was made and what was answered."""
        since = time.time_ns()
        calling: Any = self._channel.unary_unary(f"{INGEST}/SubmitBatch")
        data = calling(request.SerializeToString(), timeout=TIMEOUT_SECONDS)
        assert len(data) <= LARGEST_ANSWER_BYTES
        return since, SubmitBatchResponse.FromString(data)

    def _submit_json(self, body: bytes) -> tuple[int, SubmitBatchResponse]:
        since = time.time_ns()
        headers = {"Content-Type": "application/json"}
        status, _, answer = self._answer(inputs.Request("POST", "/submit:batch", headers, body))
        assert status == 200, (status, answer[:200])
        assert len(answer) <= LARGEST_ANSWER_BYTES
        return since, json_format.Parse(answer, SubmitBatchResponse(), ignore_unknown_fields=True)

    def _require_kept(
        self, batch: Sequence[odd.Odd], answer: SubmitBatchResponse, since: int, action: str
    ) -> None:
        """Compare rows, alerts, reports and logs with what was told about a batch."""
        rows = self._kept.rows(since, len(batch), ROWS_SECONDS)
        require_as_told(rows, _task_ids(answer), _alert_ids(answer))
        by_id = {row["task_id"]: row for row in rows} | {row.get("alert_id"): row for row in rows}
        planted = [plant for each in batch for plant in each.planted]
        for each, result in zip(batch, answer.results, strict=True):
            require_expected_row(each, by_id[result.task_id or _alert_id(result)], action)
            if not result.task_id and action != "tag":
                alert = self._kept.alert(_alert_id(result))
                require_nothing_planted(each.planted, alert.encode(), "an alert")
                size = self._kept.report_size(json.loads(alert)["alert"]["report"])
                assert size <= LARGEST_REPORT_BYTES, ("a report has", size)
        if action != "tag":
            listed = self._kept.listed(_alert_ids(answer))
            require_nothing_planted(planted, listed.encode(), "the list of alerts")
        for log in self._kept.new_logs():
            require_nothing_planted(planted, log, "a log")

    def _processor_seconds(self) -> float:
        """Return what processor time the ingest service has spent."""
        pid = self._mesh.supervisor.pid("ingest_service")
        spent = [
            path.read_text().split()[0] for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ]
        return sum(map(int, spent)) / 1e9

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


def _task_ids(answer: SubmitBatchResponse) -> list[str]:
    return [result.task_id for result in answer.results if result.task_id]


def _alert_ids(answer: SubmitBatchResponse) -> list[str]:
    return [_alert_id(result) for result in answer.results if not result.task_id]


def _alert_id(result: SubmitResult) -> str:
    """Return the alert that a refusal names."""
    info = error_details_pb2.ErrorInfo()
    for detail in result.error.details:
        if detail.Unpack(info):
            return str(info.metadata["alert_id"])
    raise AssertionError("a refusal names no alert")


def policy_of(mesh: LocalMesh) -> Path:
    """Return the policy file of a mesh to be fuzzed."""
    return mesh.settings.state / "policy.yaml"


def mesh_to_fuzz(state: Path) -> LocalMesh:
    """Return a mesh whose policy can be changed; at first it is the packaged one."""
    state.mkdir(parents=True, exist_ok=True)
    mesh = LocalMesh.on_free_ports(state, {"SLUICE_POLICY_FILE": str(state / "policy.yaml")})
    policy_of(mesh).write_bytes(PACKAGED_POLICY.read_bytes())
    return mesh


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
