"""The client against a server that answers as a test says: nothing is lost, doubled or unsaid."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Value

from detection import Scanner, Verdict, packaged_policy
from detection.fields import walk
from mesh.errors import CallError, FieldError
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice_client import (
    CallFailed,
    Client,
    Closed,
    Dropped,
    InvalidValue,
    QueueFull,
    Receipt,
    Refused,
    Unanswered,
)
from sluice_client.pieces import LINGER_SECONDS, PIECE_BYTES, PIECE_SUBMISSIONS, new_request_id
from tests.kit.processes import free_port
from tests.kit.threads import at_once
from tests.kit.waiting import eventually
from tests.unit.client.scripted import (
    LostAnswer,
    Piece,
    Script,
    Server,
    failed,
    full,
    serving,
    unavailable,
    value_of,
)

NOWHERE = "127.0.0.1:1"


def receipts(futures: Sequence[Future[Receipt]]) -> list[str]:
    return [future.result(20).task_id for future in futures]


def at_first(count: int, do: Script) -> Script:
    """Answer by `do` so many times, then store."""
    calls = iter(range(count))

    def script(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        return server.store(piece) if next(calls, None) is None else do(server, piece)

    return script


def raising(error: Exception) -> Script:
    def script(_server: Server, _piece: Piece) -> Sequence[ingest.SubmitResult]:
        raise error

    return script


def test_each_submission_gets_its_own_receipt(server: Server, target: str) -> None:
    with Client(target, source="web") as client:
        futures = client.submit_many(range(5000))
        assert client.flush(20)
        assert all(future.done() for future in futures)
        rows = [server.rows[int(each.removeprefix("task-"))] for each in receipts(futures)]
    assert rows == list(range(5000))
    assert len(server.pieces) < 5000 / 2
    assert {each.source for piece in server.pieces for each in piece.submissions} == {"web"}
    assert client.counts.accepted == 5000


def test_a_lone_submission_does_not_wait_for_others(server: Server, target: str) -> None:
    with Client(target) as client:
        for number in range(20):
            client.submit_now(number)
    assert [len(piece.submissions) for piece in server.pieces] == [1] * 20
    assert server.streams == 1


def test_submissions_that_come_closer_than_answers_share_pieces(
    server: Server, target: str
) -> None:
    def slow(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        time.sleep(0.003)
        return server.store(piece)

    server.script = slow
    with Client(target) as client:
        begun = time.monotonic()
        for number in range(300):
            client.submit(number)
            time.sleep(0.001)
        took = time.monotonic() - begun
        client.flush(20)
    assert len(server.pieces) <= took / LINGER_SECONDS + 5


def test_pieces_stay_below_what_is_recorded_whole(server: Server, target: str) -> None:
    with Client(target) as client:
        receipts(client.submit_many(["x" * 100_000] * 20 + ["y"] * 3000 + ["z" * 900_000] * 3))
    for piece in server.pieces:
        assert len(piece.submissions) <= PIECE_SUBMISSIONS
        assert piece.ByteSize() <= PIECE_BYTES + 100 or len(piece.submissions) == 1


def test_many_threads_share_a_client(server: Server, target: str) -> None:
    with Client(target) as client:
        told = at_once(10, lambda n: receipts(client.submit_many(range(n * 100, n * 100 + 100))))
    assert len({task for each in told for task in each}) == 1000
    assert sorted(server.rows) == list(range(1000))


def test_a_refusal_names_fields_and_detectors_and_not_the_value(
    server: Server, target: str
) -> None:
    error = CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        "Remove it.",
        {"alert_id": "alert-1", "detectors": "us_ssn,email"},
        [FieldError(f"/data/{n}", "US_SSN", "Detector us_ssn found something.") for n in range(20)],
    )
    server.script = lambda server, piece: [failed(error) for _ in piece.submissions]
    with Client(target) as client:
        with pytest.raises(Refused) as caught:
            client.submit_now("123-45-6789")
        assert client.counts.refused == 1
    refused = caught.value
    assert (refused.reason, refused.alert_id) == ("CONTENT_REFUSED", "alert-1")
    assert refused.detectors == ("us_ssn", "email")
    assert (refused.fields[0].path, refused.fields[0].reason) == ("/data/0", "US_SSN")
    assert (len(refused.fields), refused.field_count) == (16, 20)
    assert "123" not in str(refused)
    assert "and 4 more" in str(refused)


@pytest.mark.parametrize(
    "failure",
    [
        LostAnswer(),
        unavailable(),
        CallError(grpc.StatusCode.INTERNAL, "INTERNAL", "It broke."),
        CallError(grpc.StatusCode.UNKNOWN, "", "A proxy broke."),
        full(0.01),
        ValueError("this ends the stream as gRPC does"),
    ],
    ids=lambda each: f"{type(each).__name__} {getattr(each, 'reason', '')}",
)
@pytest.mark.filterwarnings("ignore")
def test_what_was_not_answered_is_repeated_as_it_was(
    server: Server, target: str, failure: Exception
) -> None:
    server.script = at_first(4, raising(failure))
    with Client(target) as client:
        told = receipts(client.submit_many(range(300)))
    assert len(set(told)) == 300
    # The server refuses another body under a request_id that it has met.
    assert sorted(server.rows) == list(range(300))
    assert len(server.pieces) > len(server.bodies)


def test_a_stream_that_ends_as_idle_is_opened_again_unseen(server: Server, target: str) -> None:
    server.script = at_first(
        1, lambda server, piece: (server.store(piece), unavailable("STREAM_IDLE"))[0]
    )
    idle = unavailable("STREAM_IDLE")
    with Client(target) as client:
        client.submit_now(1)
        server.script = at_first(1, raising(idle))
        begun = time.monotonic()
        client.submit_now(2)
        assert time.monotonic() - begun < 5
    assert server.rows == [1, 2]
    assert server.streams == 2


def test_a_full_queue_is_asked_again_after_the_delay_that_it_gives(
    server: Server, target: str
) -> None:
    server.script = at_first(1, raising(full(0.7)))
    with Client(target) as client:
        begun = time.monotonic()
        client.submit_now(1)
        assert time.monotonic() - begun >= 0.7


def test_a_delay_that_no_thread_can_wait_is_shortened(server: Server, target: str) -> None:
    server.script = raising(full(3e11))
    with Client(target, deadline=0.5) as client:
        assert isinstance(client.submit(1).exception(20), Unanswered)


def test_what_is_answered_is_told_while_the_rest_is_repeated(server: Server, target: str) -> None:
    begun, release = threading.Event(), threading.Event()

    def script(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        begun.wait(20)
        results = list(server.store(piece))
        if not release.is_set():
            results[1::2] = [failed(unavailable()) for _ in results[1::2]]
        return results

    server.script = script
    with Client(target, streams=1) as client:
        client.submit(0)
        eventually(lambda: server.pieces)
        futures = client.submit_many(range(1, 101))
        begun.set()
        eventually(lambda: sum(each.done() for each in futures) == 50)
        release.set()
        assert len(set(receipts(futures))) == 100
    assert sorted(server.rows) == list(range(101))


UNDETECTED = CallError(grpc.StatusCode.INTERNAL, "DETECTION_FAILED", "Not judged.")
HELD_BACK = CallError(grpc.StatusCode.UNAVAILABLE, "HELD_BACK", "Another one failed.")


def poisoned(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
    """Fail to judge 13, which holds the rest of its piece back."""
    if 13 in map(value_of, piece.submissions):
        return [
            failed(UNDETECTED if value_of(each) == 13 else HELD_BACK) for each in piece.submissions
        ]
    return server.store(piece)


@pytest.mark.usefixtures("fast")
def test_one_that_cannot_be_judged_does_not_stop_the_others(server: Server, target: str) -> None:
    server.script = poisoned
    with Client(target) as client:
        futures = client.submit_many(range(100))
        wait_for(futures, 20)
        failures = [each for each in futures if each.exception() is not None]
    assert failures == [futures[13]]
    assert isinstance(futures[13].exception(), CallFailed)
    assert sorted(server.rows) == [each for each in range(100) if each != 13]


@pytest.mark.usefixtures("fast")
def test_a_piece_of_which_something_may_be_stored_is_never_cut_anew(
    server: Server, target: str
) -> None:
    def script(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        if len(server.pieces) <= 4:
            raise unavailable()
        return poisoned(server, piece)

    server.script = script
    with Client(target, deadline=3.0, streams=1) as client:
        futures = client.submit_many(range(10, 20))
        wait_for(futures, 20)
    poisonous = [piece for piece in server.pieces if 13 in map(value_of, piece.submissions)]
    assert len({piece.request_id for piece in poisonous}) == 1
    error = futures[3].exception()
    assert isinstance(error, Unanswered) and error.may_be_stored


@pytest.mark.parametrize("more", [-1, 1])
def test_an_answer_about_something_else_is_none(server: Server, target: str, more: int) -> None:
    def wrong(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        return [*server.store(piece), ingest.SubmitResult()][: len(piece.submissions) + more]

    server.script = at_first(2, wrong)
    with Client(target) as client:
        assert len(set(receipts(client.submit_many(range(50))))) == 50
    assert sorted(server.rows) == list(range(50))


def test_details_that_cannot_be_read_concern_one_submission(server: Server, target: str) -> None:
    def garbled(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        results = list(server.store(piece))
        for index, each in enumerate(piece.submissions):
            if value_of(each) == 13:
                results[index] = failed(CallError(grpc.StatusCode.INVALID_ARGUMENT, "BAD", "Bad."))
                results[index].error.details[0].value = b"\xff\xff"
        return results

    server.script = garbled
    with Client(target) as client:
        futures = client.submit_many(range(50))
        assert isinstance(futures.pop(13).exception(20), CallFailed)
        assert len(set(receipts(futures))) == 49


def test_where_streams_do_not_pass_calls_are_made(server: Server, target: str) -> None:
    server.has_streams = False
    with Client(target) as client:
        assert len(set(receipts(client.submit_many(range(500))))) == 500
        client.submit_now(500)
    assert sorted(server.rows) == list(range(501))
    assert all(isinstance(piece, ingest.SubmitBatchRequest) for piece in server.pieces)


@pytest.mark.usefixtures("fast")
def test_where_streams_are_never_answered_calls_are_made(server: Server, target: str) -> None:
    server.is_silent = True
    with Client(target) as client:
        assert len(set(receipts(client.submit_many(range(50))))) == 50
        client.submit_now(50)
    assert sorted(server.rows) == list(range(51))


@pytest.mark.usefixtures("fast")
def test_a_server_that_hangs_gets_the_piece_again(server: Server, target: str) -> None:
    with Client(target) as client:
        client.submit_now(0)
        server.is_silent = True
        future = client.submit(1)
        # A stream for each attempt: two were given up.
        eventually(lambda: server.streams > 2)
        server.is_silent = False
        future.result(20)
        assert client._core.sender.streams_pass
    assert server.rows == [0, 1]


def test_a_server_that_comes_later_gets_everything(server: Server) -> None:
    address = f"127.0.0.1:{free_port()}"
    with Client(address) as client:
        futures = client.submit_many(range(3000))
        eventually(lambda: [each for each in list(client._core.queue._in_flight) if each.problem])
        with serving(server, address):
            assert len(set(receipts(futures))) == 3000
            assert server.streams
    assert sorted(server.rows) == list(range(3000))


def test_submissions_with_ids_go_in_pieces_without(server: Server, target: str) -> None:
    server.script = at_first(3, raising(LostAnswer()))
    with Client(target) as client:
        futures = [
            client.submit(number, request_id=f"order-{number}" if number % 3 else None)
            for number in range(900)
        ]
        assert len(set(receipts(futures))) == 900
        assert client.submit_now(1, request_id="order-1") == futures[1].result()
    assert sorted(server.rows) == list(range(900))
    for piece in server.pieces:
        named = [bool(each.request_id) for each in piece.submissions]
        assert all(named) or not any(named)
        assert bool(piece.request_id) is not any(named)
    assert len(server.pieces) < 450


def test_deadlines_say_what_is_known(server: Server, target: str) -> None:
    with Client(NOWHERE, deadline=0.3, streams=1) as client:
        sent = client.submit(1)
        eventually(lambda: client._core.queue._in_flight)
        unsent = client.submit(2)
        with pytest.raises(Unanswered) as first:
            sent.result(10)
        with pytest.raises(Unanswered) as second:
            unsent.result(10)
        assert (first.value.may_be_stored, second.value.may_be_stored) == (True, False)
        assert client.counts.failed == 2
        assert client.flush(0)


def test_what_is_told_as_not_stored_is_not_stored_later(server: Server, target: str) -> None:
    begun, late = threading.Event(), threading.Event()

    def script(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        begun.wait(20)
        if 1 in map(value_of, piece.submissions) and not late.is_set():
            raise full(0.05)
        return server.store(piece)

    server.script = script
    with Client(target, streams=1) as client:
        client.submit(0)
        eventually(lambda: server.pieces)
        # All of them share a piece.
        futures = [client.submit(n, deadline=0.5 if n == 1 else 20.0) for n in range(1, 51)]
        begun.set()
        error = futures[0].exception(20)
        late.set()
        assert isinstance(error, Unanswered) and not error.may_be_stored
        receipts(futures[1:])
    assert sorted(server.rows) == [0, *range(2, 51)]


def test_a_piece_older_than_what_the_server_remembers_is_not_sent_again(
    server: Server, target: str
) -> None:
    server.script = raising(unavailable())
    with Client(target, retention=0.5) as client:
        future = client.submit(1)
        error = future.exception(20)
    assert isinstance(error, Unanswered) and error.may_be_stored
    assert "forgotten" in str(error)


def test_raise_when_full() -> None:
    with Client(NOWHERE, when_full="raise", max_submissions=10, deadline=0.5) as client:
        client.submit_many(range(10))
        with pytest.raises(QueueFull):
            client.submit(10)
        assert client.flush(10)
        client.submit(11)


def test_bytes_are_bounded_too() -> None:
    with Client(NOWHERE, when_full="raise", max_bytes=100_000, deadline=0.5) as client:
        client.submit("x" * 60_000)
        with pytest.raises(QueueFull):
            client.submit("x" * 60_000)
        client.submit("small")
        assert client.flush(10)
        # What alone is larger than everything may be goes when nothing else is there.
        client.submit("x" * 600_000)


def test_drop_when_full() -> None:
    dropped: list[Any] = []
    with Client(
        NOWHERE, when_full="drop", on_dropped=dropped.append, max_submissions=10, deadline=0.5
    ) as client:
        futures = client.submit_many(range(15))
        assert all(isinstance(each.exception(0), Dropped) for each in futures[10:])
        assert dropped == [10, 11, 12, 13, 14]
        assert client.counts.dropped == 5
        client.flush(10)
        assert client.counts.failed == 10


def test_block_when_full(server: Server, target: str) -> None:
    with Client(target, max_submissions=50) as client:
        assert len(set(receipts(client.submit_many(range(2000))))) == 2000
    with Client(NOWHERE, max_submissions=2, deadline=30.0) as client:
        client.submit_many(range(2))
        begun = time.monotonic()
        with pytest.raises(QueueFull):
            client.submit(3, deadline=0.3)
        assert 0.3 <= time.monotonic() - begun < 5
        client.close(0)


def test_a_callback_may_submit_although_there_is_no_room(server: Server, target: str) -> None:
    seen: list[object] = []
    with Client(target, max_submissions=5, streams=1) as client:

        def again(_future: object) -> None:
            try:
                seen.append(client.submit("from a callback"))
            except QueueFull as error:
                seen.append(error)

        def raises(_future: object) -> None:
            raise RuntimeError("a mistake of the caller's")

        for number in range(50):
            future = client.submit(number)
            future.add_done_callback(again)
            future.add_done_callback(raises)
        client.flush(20)
    assert len(seen) == 50


def test_a_callback_that_ends_its_thread_ends_no_lane(server: Server, target: str) -> None:
    def leave(_future: object) -> None:
        sys.exit("a mistake of the caller's")

    attached = threading.Event()

    def script(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        attached.wait(20)
        return server.store(piece)

    server.script = script
    with Client(target) as client:
        for _ in range(3):
            attached.clear()
            futures = client.submit_many(range(50))
            futures[0].add_done_callback(leave)
            attached.set()
            assert len(set(receipts(futures))) == 50


def test_a_deadline_may_be_never(server: Server, target: str) -> None:
    with Client(target, deadline=math.inf, max_submissions=10) as client:
        assert len(set(receipts(client.submit_many(range(50))))) == 50


def test_a_cancelled_future_changes_nothing(server: Server, target: str) -> None:
    with Client(target) as client:
        futures = client.submit_many(range(100))
        for future in futures:
            future.cancel()
        assert client.flush(20)
        client.submit_now(100)
    assert sorted(server.rows) == list(range(101))


def test_what_cannot_be_sent_is_told_at_once_and_stops_nothing(server: Server, target: str) -> None:
    with Client(target) as client:
        for bad in (object(), float("nan"), "\ud800", "x" * 10_000_000):
            with pytest.raises(InvalidValue):
                client.submit(bad)
        with pytest.raises(InvalidValue):
            client.submit(1, source="\ud800")
        with pytest.raises(InvalidValue):
            client.submit(1, request_id="\ud800")
        client.submit_now("good")
    assert server.rows == ["good"]


def test_one_of_many_that_cannot_be_sent_takes_no_receipt_away(server: Server, target: str) -> None:
    with Client(target) as client:
        first, bad, last = client.submit_many(["first", object(), "last"])
        assert isinstance(bad.exception(20), InvalidValue)
        receipts([first, last])
    assert server.rows == ["first", "last"]


def test_what_changes_after_submit_does_not_change_what_was_submitted(
    server: Server, target: str
) -> None:
    server.script = at_first(3, raising(unavailable()))
    with Client(target) as client:
        data = ["before"]
        future = client.submit(data)
        data[0] = "after"
        future.result(20)
    assert server.pieces[-1].submissions[0].data.list_value.values[0].string_value == "before"


def test_close_waits_and_then_nothing_is_taken(server: Server, target: str) -> None:
    client = Client(target)
    futures = client.submit_many(range(100))
    client.close()
    assert len(set(receipts(futures))) == 100
    with pytest.raises(Closed):
        client.submit(1)
    with pytest.raises(Closed):
        client.scan(1)
    client.close()


def test_close_says_what_had_no_answer() -> None:
    client = Client(NOWHERE)
    futures = client.submit_many(range(10))
    client.close(0.2)
    assert all(isinstance(each.exception(0), Unanswered) for each in futures)
    assert client.counts.waiting == 0


def test_threads_end_with_the_client(server: Server, target: str) -> None:
    def ours() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name.startswith("sluice")]

    client = Client(target)
    assert not ours()
    client.submit_many(range(100))
    assert ours()
    client.close()
    assert not ours()


def test_a_closed_client_is_not_kept(server: Server, target: str) -> None:
    import multiprocessing.util  # noqa: F401 - what is imported gets a finalizer

    client = Client(target)
    client.submit_now(1)
    core = weakref.ref(client._core)
    client.close()
    del client
    gc.collect()
    assert core() is None


def test_a_mistyped_option_is_named() -> None:
    with pytest.raises(TypeError, match="deadlin"):
        Client(NOWHERE, deadlin=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="block"):
        Client(NOWHERE, when_full="panic")  # type: ignore[arg-type]


def test_no_request_id_of_ours_looks_like_something_else() -> None:
    scanner = Scanner(packaged_policy())
    for _ in range(3000):
        request_id = new_request_id()
        scan = scanner.scan(walk(Value(string_value=request_id), 32), "")
        assert scan.verdict is Verdict.ACCEPT, request_id
    assert len({new_request_id() for _ in range(1000)}) == 1000
