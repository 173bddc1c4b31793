"""A gRPC server of the mesh: its options, its handlers, its start and its drain."""

from __future__ import annotations

import asyncio
import math
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import grpc
import uvloop
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc

from mesh import reflection
from mesh.errors import CallError
from mesh.health import Health
from mesh.logs import logger
from mesh.settings import ProcessSettings

log = logger("mesh.server")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024

OPTIONS = [
    # Two processes on one port would silently share the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The gateway limits headers, and counts neither those it adds nor what gRPC counts for each.
    # Near this limit gRPC refuses at random, so it has to lie well above.
    ("grpc.max_metadata_size", 32 * 1024),
    # The gateway pings, to find out when a process hangs. Where only quiet streams are open, gRPC
    # would take that for an attack and end them.
    ("grpc.http2.max_ping_strikes", 0),
]

Context = grpc.aio.ServicerContext[Any, Any]
Undecodable = Callable[[str, Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service to serve.

    `add` is the generated `add_…Servicer_to_server`. `undecodable`, when given, is told of requests
    that are no valid message (method name and context) before the caller is. `idle_seconds`, when
    given, is how long a caller may send nothing on a stream while nothing is unanswered.
    """

    name: str
    add: Callable[[Any, Any], None]
    servicer: object
    undecodable: Undecodable | None = None
    idle_seconds: float | None = None


def request_id(context: Context) -> str:
    """Return the gateway's id of this call, or a fresh one for a call that came past it."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id":
            return str(value)
    return str(uuid.uuid4())


def build(
    settings: ProcessSettings,
    services: Sequence[Service],
    health: Health,
    reflected: Sequence[str] = (),
) -> grpc.aio.Server:
    """Return a server for `services` and grpc.health.v1, bound to the address in `settings`.

    `reflected` names the services that reflection shows; none switches reflection off. Raises
    RuntimeError when the address is taken.
    """
    server = grpc.aio.server(options=OPTIONS)
    shares = _Shares(
        _Calls(settings.max_concurrent_calls),
        _Calls(settings.max_concurrent_streams),
        _Calls(settings.max_concurrent_watches),
    )
    for service in services:
        service.add(service.servicer, _HandlerWrapper(server, shares, service))
    # How a process is must be seen when it has the most to do.
    uncounted = replace(shares, calls=_Calls(math.inf))
    add_health = health_pb2_grpc.add_HealthServicer_to_server
    states = Service("grpc.health.v1.Health", add_health, health.servicer)
    add_health(health.servicer, _HandlerWrapper(server, uncounted, states))
    if reflected:
        names = [*reflected, states.name, *reflection.NAMES]
        servicer = reflection.Reflection(names)
        for name in reflection.NAMES:
            service = Service(
                name, reflection.adder(name), servicer, idle_seconds=settings.stream_idle_seconds
            )
            service.add(servicer, _HandlerWrapper(server, shares, service))
    server.add_insecure_port(settings.listen)
    return server


async def serve(
    settings: ProcessSettings,
    server: grpc.aio.Server,
    health: Health,
    end_streams: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    NOT_SERVING comes first and is told for `drain_seconds`, so that the gateway sends no new calls;
    then calls in flight get `grace_seconds`. `end_streams`, when given, is called before that: it
    ends the calls that would never end by themselves.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = asyncio.create_task(health.watch())
    await server.start()
    log.info("serving", address=settings.listen)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, watching}, return_when=asyncio.FIRST_COMPLETED)
    log.info("draining")
    health.drain()
    await asyncio.sleep(settings.drain_seconds)
    if end_streams is not None:
        end_streams()
    await server.stop(settings.grace_seconds)
    watching.cancel()
    log.info("stopped")


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run the process: `main` on an event loop of its own, until it returns."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_as_coroutine(main))


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()


class _Calls:
    """Counts the calls in flight and turns further ones away."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.now = 0

    def __enter__(self) -> None:
        if self.now >= self.most:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_CALLS",
                "Too many calls are in flight. Repeat the call after the delay given.",
                retry_after=1.0,
            )
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1


@dataclass(frozen=True, slots=True)
class _Shares:
    """What each kind of call may take up, so that none can take up all."""

    calls: _Calls
    """One request, one answer."""
    streams: _Calls
    """The caller streams."""
    watches: _Calls
    """Only the service streams."""


class _HandlerWrapper:
    """Stands in for the server when generated code registers a service.

    Every handler is wrapped once, at start: requests are decoded inside the call, so that bytes
    that are no message get INVALID_ARGUMENT and not UNKNOWN with internal text, and errors leave
    as one shape. An interceptor would do the same at the cost of a coroutine for each call.
    """

    def __init__(self, server: grpc.aio.Server, shares: _Shares, service: Service) -> None:
        self._server = server
        self._calls = shares.calls
        self._streams = shares.streams
        self._watches = shares.watches
        self._service = service

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: the same handlers come with their names in the next call."""

    def add_registered_method_handlers(
        self, service_name: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Register the wrapped handlers."""
        wrapped = {name: self._wrap(name, handler) for name, handler in handlers.items()}
        generic = grpc.method_handlers_generic_handler(service_name, wrapped)
        self._server.add_generic_rpc_handlers((generic,))

    def _wrap(self, name: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        decode = handler.request_deserializer
        encode = handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary_unary(name, decode, handler.unary_unary), None, encode
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._unary_stream(name, decode, handler.unary_stream), None, encode
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._stream_unary(name, decode, handler.stream_unary), None, encode
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream_stream(name, decode, handler.stream_stream), None, encode
        )

    def _unary_unary(self, name: str, decode: Any, behaviour: Any) -> Any:
        async def call(data: bytes, context: Context) -> Any:
            try:
                with self._calls:
                    return await behaviour(_decoded(decode, data), context)
            except Exception as error:
                del data  # see _end
                await self._end(name, context, error)

        return call

    def _unary_stream(self, name: str, decode: Any, behaviour: Any) -> Any:
        async def call(data: bytes, context: Context) -> AsyncIterator[Any]:
            try:
                with self._watches:
                    async for response in behaviour(_decoded(decode, data), context):
                        yield response
            except Exception as error:
                del data  # see _end
                await self._end(name, context, error)

        return call

    def _stream_unary(self, name: str, decode: Any, behaviour: Any) -> Any:
        async def call(stream: AsyncIterator[bytes], context: Context) -> Any:
            try:
                with self._streams:
                    return await behaviour(self._requests(decode, stream), context)
            except Exception as error:
                await self._end(name, context, error)

        return call

    def _stream_stream(self, name: str, decode: Any, behaviour: Any) -> Any:
        async def call(stream: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            try:
                with self._streams:
                    async for response in behaviour(self._requests(decode, stream), context):
                        yield response
            except Exception as error:
                await self._end(name, context, error)

        return call

    async def _requests(self, decode: Any, stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Give what the caller streams. The time for it runs while the service waits for more."""
        while True:
            try:
                async with asyncio.timeout(self._service.idle_seconds):
                    data = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise CallError(
                    grpc.StatusCode.UNAVAILABLE,
                    "STREAM_IDLE",
                    "Nothing came on the stream for a while, so it ends; everything that came was "
                    "answered. Open another one when there is more to send.",
                ) from None
            yield _decoded(decode, data)

    async def _end(self, name: str, context: Context, error: Exception) -> NoReturn:
        """End the call with the status that `error` stands for."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        caught = error
        if isinstance(error, _Undecodable):
            error = await self._refuse_undecodable(name, context)
        call_id = request_id(context)
        if not isinstance(error, CallError):
            log.error("call failed", method=name, request_id=call_id, exc_info=error)
            error = CallError(
                grpc.StatusCode.INTERNAL,
                "INTERNAL",
                "Something went wrong on our side. Repeat the call; if it fails again, report the "
                "request id to the operator.",
            )
        # gRPC keeps the AbortError with the call, and that keeps what led to it: the request would
        # stay in memory until the garbage collector comes, and under a flood that is late.
        caught.__traceback__ = None
        error.__traceback__ = error.__cause__ = error.__context__ = None
        trailers = [("grpc-status-details-bin", error.status(call_id).SerializeToString())]
        if error.retry_after is not None:
            trailers.append(("retry-after", str(math.ceil(error.retry_after)).encode()))
        await context.abort(error.code, error.message, tuple(trailers))

    async def _refuse_undecodable(self, name: str, context: Context) -> Exception:
        if self._service.undecodable is not None:
            try:
                await self._service.undecodable(name, context)
            except Exception as error:
                return error
        return CallError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "UNDECODABLE",
            "The request is no valid message: it is damaged, holds text that is not UTF-8, or is "
            "nested too deeply. Send at most 32 levels.",
        )


class _Undecodable(Exception):
    """The request is no message. What a handler fails to decode is our own fault."""


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except DecodeError:
        raise _Undecodable from None
