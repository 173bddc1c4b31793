"""The server against real calls over a real socket, with a servicer that misbehaves on demand."""

import asyncio
import gc
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import server
from mesh.errors import MAX_FIELDS, CallError, FieldError
from mesh.handlers import MAX_MESSAGE_BYTES, Context, Service
from mesh.health import Health
from mesh.settings import ProcessSettings
from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import (
    IngestServiceServicer,
    IngestServiceStub,
    add_IngestServiceServicer_to_server,
)

NAME = "sluice.ingest.v1.IngestService"
IDLE_SECONDS = 0.3
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Misbehaving(IngestServiceServicer):
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.release = asyncio.Event()
        self.release.set()
        self.undecodable: list[str] = []
        self.work_seconds = 0.0

    async def Submit(
        self, request: ingest.SubmitRequest, context: Context
    ) -> ingest.SubmitResponse:
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return ingest.SubmitResponse(message="taken")

    async def SubmitStream(
        self, request_iterator: AsyncIterator[ingest.SubmitStreamRequest], context: Context
    ) -> AsyncIterator[ingest.SubmitStreamResponse]:
        async for _ in request_iterator:
            await asyncio.sleep(self.work_seconds)
            yield ingest.SubmitStreamResponse()
        if self.error is not None:
            raise self.error

    async def note_undecodable(self, method: str, context: Context) -> None:
        self.undecodable.append(method)


class Scene:
    """One server, one client, one servicer."""

    def __init__(self, port: int, servicer: Misbehaving, health: Health) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub = IngestServiceStub(self.channel)
        self.servicer = servicer
        self.health = health

    async def watch(self) -> Any:
        """Return a watch that has told the present state."""
        watch = health_pb2_grpc.HealthStub(self.channel).Watch(
            health_pb2.HealthCheckRequest(service=NAME)
        )
        await watch.read()
        return watch

    async def serving(self, service: str = "") -> bool:
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    # Only the methods that are called are there.
    servicer = Misbehaving()  # type: ignore[abstract]
    health = Health([NAME], probes={})
    settings = ProcessSettings(
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        max_concurrent_calls=2,
        max_concurrent_streams=2,
        max_concurrent_watches=2,
        stream_idle_seconds=IDLE_SECONDS,
    )
    service = Service(
        NAME,
        add_IngestServiceServicer_to_server,
        servicer,
        servicer.note_undecodable,
        settings.stream_idle_seconds,
    )
    built = server.build(settings, [service], health)
    port = built.add_insecure_port("127.0.0.1:0")
    await built.start()
    scene = Scene(port, servicer, health)
    yield scene
    await scene.channel.close()
    await built.stop(None)


def trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the trailers; the library's own mapping does not convert to one."""
    return {key: value for key, value in error.trailing_metadata() or ()}  # noqa: C416


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the details of a rich error by the name of their type."""
    status = status_pb2.Status.FromString(trailers(error)["grpc-status-details-bin"])
    found = {}
    for packed in status.details:
        message = getattr(error_details_pb2, packed.type_url.rsplit(".", 1)[-1])()
        packed.Unpack(message)
        found[type(message).__name__] = message
    return found


async def failure(scene: Scene, **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.stub.Submit(ingest.SubmitRequest(), **options)
    return caught.value


async def test_an_answer_goes_through(scene: Scene) -> None:
    answer = await scene.stub.Submit(ingest.SubmitRequest())
    assert answer.message == "taken"


async def test_a_call_error_reaches_the_caller_whole(scene: Scene) -> None:
    scene.servicer.error = CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        "Later.",
        metadata={"alert_id": "a-1"},
        fields=[FieldError("/data", "TOO_DEEP", "Flatten it.")] * (MAX_FIELDS + 1),
        retry_after=1.5,
    )
    error = await failure(scene, metadata=[("x-request-id", "r-1")])
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "Later."
    found = details(error)
    assert found["ErrorInfo"].reason == "QUEUE_FULL"
    assert found["ErrorInfo"].domain == "sluice"
    assert found["ErrorInfo"].metadata == {
        "alert_id": "a-1",
        "field_count": str(MAX_FIELDS + 1),
    }
    assert found["RequestInfo"].request_id == "r-1"
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1500
    assert len(found["BadRequest"].field_violations) == MAX_FIELDS
    assert trailers(error)["retry-after"] == "2"


@pytest.mark.parametrize("character", ["a", "é", "語", "\U0001f600", "\x01", "<", '"'])
@pytest.mark.parametrize("length", [1, 120, 100_000])
async def test_an_error_with_long_paths_reaches_the_caller_as_itself(
    scene: Scene, character: str, length: int
) -> None:
    """A status beyond what headers may hold would become RESOURCE_EXHAUSTED or be dropped."""
    detectors = [f"detector_of_some_sort_{number}" for number in range(500)]
    scene.servicer.error = CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        "Remove it from the fields named in the details." * 4,
        metadata={"alert_id": "a" * 32, "detectors": ",".join(detectors)},
        fields=[FieldError(f"/data/{character * length}", "KEYWORD", "Remove it." * 7)] * 1000,
        retry_after=1.0,
    )
    error = await failure(scene, metadata=[("x-request-id", "r" * 5000)])
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    packed = trailers(error)["grpc-status-details-bin"]
    assert len(packed) * 4 / 3 + len(error.details() or "") < 8192 - 1024
    found = details(error)
    assert found["ErrorInfo"].reason == "CONTENT_REFUSED"
    assert found["ErrorInfo"].metadata["alert_id"] == "a" * 32
    assert found["ErrorInfo"].metadata["field_count"] == "1000"
    named = found["ErrorInfo"].metadata["detectors"].split(",")
    assert named[:-1] == detectors[: len(named) - 1]
    assert named[-1] == "…"
    assert found["BadRequest"].field_violations


async def test_an_unexpected_error_shows_nothing_of_itself(scene: Scene) -> None:
    scene.servicer.error = RuntimeError("CANARY")
    error = await failure(scene)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "CANARY" not in repr(error)
    assert details(error)["RequestInfo"].request_id


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\xff\xff\xff", id="no message"),
        pytest.param(b"\x12\x02\xc3\x28", id="text that is not UTF-8"),
        pytest.param(b"\x0a\x05\x1a\x03\xff\xff\xff", id="damaged further in"),
    ],
)
async def test_bytes_that_are_no_message_are_refused_and_told(scene: Scene, sent: bytes) -> None:
    submit: Any = scene.channel.unary_unary(f"/{NAME}/Submit")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await submit(sent)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(caught.value)["ErrorInfo"].reason == "UNDECODABLE"
    assert scene.servicer.undecodable == ["Submit"]


def compressed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def submission(size: int) -> bytes:
    """Return a message of so many bytes."""
    rest = size - ingest.SubmitRequest(source="x" * size).ByteSize()
    message = ingest.SubmitRequest(source="x" * (size + rest)).SerializeToString()
    assert len(message) == size
    return message


async def test_what_is_compressed_is_taken_up_to_the_limit_of_a_message(scene: Scene) -> None:
    submit: Any = scene.channel.unary_unary(f"/{NAME}/Submit")
    for sent in (submission(MAX_MESSAGE_BYTES), submission(20), b""):
        assert b"taken" in await submit(sent, compression=grpc.Compression.Gzip)


async def test_what_is_compressed_is_not_made_whole_to_find_that_it_is_too_large(
    scene: Scene,
) -> None:
    submit: Any = scene.channel.unary_unary(f"/{NAME}/Submit")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await submit(submission(MAX_MESSAGE_BYTES + 1), compression=grpc.Compression.Gzip)
    # gRPC, which makes it whole, would say RESOURCE_EXHAUSTED.
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(caught.value)["ErrorInfo"].reason == "BODY_TOO_LARGE"
    bomb = compressed(bytes(64 * MAX_MESSAGE_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await submit(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert details(caught.value)["ErrorInfo"].reason == "BODY_TOO_LARGE"
    assert most < 4 * MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(compressed(b"\xff\xff\xff"), id="no message"),
        pytest.param(compressed(submission(20))[:-1], id="cut off"),
        pytest.param(compressed(submission(20)) + b"x", id="with more behind it"),
        pytest.param(b"\x1f\x8b", id="nothing but the beginning"),
        pytest.param(b"\x1f\x8bnot compressed", id="not compressed"),
        pytest.param(compressed(compressed(submission(20))), id="compressed twice"),
    ],
)
async def test_what_is_not_well_compressed_is_no_message(scene: Scene, sent: bytes) -> None:
    submit: Any = scene.channel.unary_unary(f"/{NAME}/Submit")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await submit(sent)
    assert details(caught.value)["ErrorInfo"].reason == "UNDECODABLE"
    assert scene.servicer.undecodable == ["Submit"]


async def test_calls_beyond_the_bound_are_turned_away(scene: Scene) -> None:
    scene.servicer.release.clear()
    calls = [scene.stub.Submit(ingest.SubmitRequest()) for _ in range(3)]
    done, waiting = await asyncio.wait(
        [asyncio.ensure_future(_await(call)) for call in calls],
        return_when=asyncio.FIRST_COMPLETED,
    )
    (refused,) = done
    error = refused.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error)["RetryInfo"].retry_delay.ToMilliseconds() == 1000
    scene.servicer.release.set()
    assert [(await call).message for call in waiting] == ["taken", "taken"]


async def _await(call: Any) -> ingest.SubmitResponse:
    answer: ingest.SubmitResponse = await call
    return answer


async def test_a_stream_ends_with_the_same_errors(scene: Scene) -> None:
    scene.servicer.error = CallError(grpc.StatusCode.UNAVAILABLE, "QUEUE_UNAVAILABLE", "Later.")

    async def requests() -> AsyncIterator[ingest.SubmitStreamRequest]:
        yield ingest.SubmitStreamRequest()

    stream = scene.stub.SubmitStream(requests())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stream:
            pass
    assert details(caught.value)["ErrorInfo"].reason == "QUEUE_UNAVAILABLE"


async def ends(stream: Any) -> tuple[int, str]:
    """Read a stream to its end; return how many answers came, and the reason of its end."""
    answers = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stream:
            answers += 1
    return answers, details(caught.value)["ErrorInfo"].reason


async def test_a_stream_on_which_nothing_comes_ends_and_leaves_nothing_unanswered(
    scene: Scene,
) -> None:
    stream = scene.stub.SubmitStream()
    assert await ends(stream) == (0, "STREAM_IDLE")
    assert await stream.code() is grpc.StatusCode.UNAVAILABLE

    stream = scene.stub.SubmitStream()
    for _ in range(3):
        await stream.write(ingest.SubmitStreamRequest())
    assert await ends(stream) == (3, "STREAM_IDLE")


async def test_a_stream_is_not_idle_while_a_piece_is_worked_on(scene: Scene) -> None:
    scene.servicer.work_seconds = 2 * IDLE_SECONDS
    stream = scene.stub.SubmitStream()
    for _ in range(2):
        await stream.write(ingest.SubmitStreamRequest())
        assert isinstance(await stream.read(), ingest.SubmitStreamResponse)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_silent_streams_leave_the_other_calls_theirs(scene: Scene) -> None:
    streams = [scene.stub.SubmitStream() for _ in range(4)]
    reasons = [reason for _, reason in await asyncio.gather(*[ends(each) for each in streams])]
    assert sorted(reasons) == ["STREAM_IDLE"] * 2 + ["TOO_MANY_CALLS"] * 2

    scene.servicer.work_seconds = 60
    streams = [scene.stub.SubmitStream() for _ in range(2)]
    for stream in streams:
        await stream.write(ingest.SubmitStreamRequest())
    # The share is used up.
    assert await ends(scene.stub.SubmitStream()) == (0, "TOO_MANY_CALLS")
    assert (await scene.stub.Submit(ingest.SubmitRequest())).message == "taken"
    watch = await scene.watch()
    await scene.serving(NAME)
    for each in (*streams, watch):
        each.cancel()


async def test_quiet_watchers_have_a_share_of_their_own(scene: Scene) -> None:
    scene.health.servicer.set(NAME, SERVING)
    watches = [await scene.watch() for _ in range(2)]
    further = health_pb2_grpc.HealthStub(scene.channel).Watch(health_pb2.HealthCheckRequest())
    assert await ends(further) == (0, "TOO_MANY_CALLS")
    assert (await scene.stub.Submit(ingest.SubmitRequest())).message == "taken"
    assert await scene.serving(NAME)
    # Longer than a stream may be silent.
    stream = scene.stub.SubmitStream()
    assert await ends(stream) == (0, "STREAM_IDLE")

    # One leaves, the other one learns what changes, and another one may come.
    watches[0].cancel()
    scene.health.servicer.set(NAME, NOT_SERVING)
    async with asyncio.timeout(5):
        assert (await watches[1].read()).status == NOT_SERVING
        while True:
            try:
                watches[0] = await scene.watch()
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0)
    for each in watches:
        each.cancel()


async def test_health_is_told_however_many_calls_there_are(scene: Scene) -> None:
    scene.health.servicer.set(NAME, SERVING)
    scene.servicer.release.clear()
    calls = [scene.stub.Submit(ingest.SubmitRequest()) for _ in range(3)]
    await asyncio.wait(
        [asyncio.ensure_future(_await(call)) for call in calls],
        timeout=5,
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert await scene.serving(NAME)
    scene.servicer.release.set()
    stub = health_pb2_grpc.HealthStub(scene.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nope"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_draining_process_does_not_serve(scene: Scene) -> None:
    watching = asyncio.create_task(scene.health.watch())
    async with asyncio.timeout(5):
        while not await scene.serving(NAME):
            await asyncio.sleep(0)
    scene.health.drain()
    watching.cancel()
    assert not await scene.serving()
    assert not await scene.serving(NAME)


@pytest.mark.parametrize(
    "error", [CallError(grpc.StatusCode.UNAVAILABLE, "AWAY", "Away."), OSError()]
)
async def test_a_failed_call_leaves_no_request_to_the_garbage_collector(
    scene: Scene, error: Exception
) -> None:
    request = ingest.SubmitRequest()
    request.data.string_value = "x" * 1024 * 1024
    scene.servicer.error = error
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(8):
            with pytest.raises(grpc.aio.AioRpcError):
                await scene.stub.Submit(request)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    # The last one is still on its way out.
    assert kept < 3 * 1024 * 1024
