"""The client on a real mesh: through Envoy, to rows in InfluxDB."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import wait

import grpc
import pytest

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from sluice_client import Client as SluiceClient
from sluice_client import Refused, sender
from sluice_client.pieces import Piece, Submission
from sluice_client.values import delimited, encode
from tests.kit.client import Client, marker
from tests.kit.processes import OUR_CODE
from tests.kit.waiting import eventually


def test_every_receipt_is_one_row(client: Client) -> None:
    mark = marker()
    with SluiceClient(client.mesh.gateway, source="e2e-client") as sluice:
        futures = [
            sluice.submit(
                {"mark": mark, "number": number},
                request_id=f"{mark.replace(' ', '-')}-{number}" if number % 3 == 0 else None,
            )
            for number in range(3000)
        ]
        receipts = {number: each.result(30).task_id for number, each in enumerate(futures)}
        assert sluice.wait(receipts[2999]).state
    where = "source = 'e2e-client'"
    eventually(lambda: len(client.rows(where)) >= 3000, 30)
    rows = {json.loads(row["payload"])["number"]: row["task_id"] for row in client.rows(where)}
    assert len(client.rows(where)) == 3000
    assert rows == receipts


def test_a_refusal_among_others_is_told_and_no_other_is_lost(client: Client) -> None:
    with SluiceClient(client.mesh.gateway) as sluice:
        bad = "my ssn is 123-45-6789"
        futures = sluice.submit_many([bad if n % 50 == 0 else f"good {n}" for n in range(500)])
        wait(futures, 30)
        for number, future in enumerate(futures):
            error = future.exception(0)
            assert isinstance(error, Refused) is (number % 50 == 0)
            if isinstance(error, Refused):
                assert error.alert_id in client.reports()
                assert "123-45" not in str(error)
        assert sluice.counts.accepted == 490


def test_a_piece_that_a_stream_took_is_answered_the_same_by_a_call(client: Client) -> None:
    piece = Piece(
        [Submission(delimited(b"\x0a", delimited(b"\x0a", encode("x"))), None, 0.0, False)] * 3
    )
    request = ingest.SubmitStreamRequest.FromString(piece.body)
    with grpc.insecure_channel(client.mesh.gateway) as channel:
        stub = IngestServiceStub(channel)
        (streamed,) = stub.SubmitStream(iter([request]), timeout=20)
        called = stub.SubmitBatch(ingest.SubmitBatchRequest.FromString(piece.body), timeout=20)
    assert len({each.task_id for each in streamed.results}) == 3
    assert list(streamed.results) == list(called.results)


@pytest.mark.parametrize("data", ["x" * 1_048_000, ["y"] * 9_999, {"k" * 1000: ""}])
def test_the_largest_submissions_pass(client: Client, data: object) -> None:
    with SluiceClient(client.mesh.gateway, deadline=30) as sluice:
        assert sluice.submit_now(data).task_id


@pytest.mark.parametrize("data", [["y"] * 10_001, None, "nul \0"])
def test_what_breaks_a_rule_of_shape_is_refused_alone(client: Client, data: object) -> None:
    with SluiceClient(client.mesh.gateway, deadline=30) as sluice:
        futures = sluice.submit_many(["before", data, "after"])
        assert futures[0].result(20) and futures[2].result(20)
        error = futures[1].exception(20)
        assert isinstance(error, Refused) and error.reason == "INVALID_INPUT"


def test_the_deepest_value_passes(client: Client) -> None:
    data: object = "x"
    for _ in range(31):
        data = {"a": data}
    with SluiceClient(client.mesh.gateway, deadline=30) as sluice:
        assert sluice.submit_now(data)
        # One level more is a violation and no damage to the others.
        futures = sluice.submit_many(["before", {"a": data}, "after"])
        assert futures[0].result(20) and futures[2].result(20)
        wait(futures)


def test_a_gateway_that_is_replaced_is_not_noticed(client: Client) -> None:
    mark = marker()
    with SluiceClient(client.mesh.gateway, source="e2e-replaced") as sluice:
        futures = []
        for number in range(30):
            futures += sluice.submit_many({"mark": mark, "n": number * 20 + n} for n in range(20))
            if number == 10:
                client.mesh.supervisor.restart("api_gateway")
        assert len({each.result(60).task_id for each in futures}) == 600
    eventually(lambda: len(client.rows("source = 'e2e-replaced'")) == 600, 30)


def test_a_program_of_grpc_and_asyncio_logs_nothing_new(client: Client) -> None:
    program = f"""
import asyncio, grpc
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from sluice_client import AsyncClient

async def main():
    async with grpc.aio.insecure_channel("{client.mesh.gateway}") as channel:
        stub = IngestServiceStub(channel)
        async with AsyncClient("{client.mesh.gateway}") as sluice:
            for _ in range(100):
                await asyncio.gather(
                    stub.Scan(ingest.ScanRequest(data={{"string_value": "x"}})),
                    *await sluice.submit_many(range(20)),
                )

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=OUR_CODE, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_hung_gateway_had_is_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "ATTEMPT_SECONDS", 1.0)
    with SluiceClient(client.mesh.gateway, source="e2e-hung") as sluice:
        sluice.submit_now("before")
        supervisor = client.mesh.supervisor
        supervisor.signal("api_gateway", signal.SIGSTOP)
        try:
            future = sluice.submit("while it hangs")
            queue = sluice._core.queue
            eventually(lambda: [each for each in list(queue._in_flight) if each.attempts > 1])
            assert not future.done()
        finally:
            supervisor.signal("api_gateway", signal.SIGCONT)
        future.result(30)
    eventually(lambda: len(client.rows("source = 'e2e-hung'")) == 2, 30)
