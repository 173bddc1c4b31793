"""How every call is handled: decoding, limits on calls in flight, and one shape for all errors."""

from __future__ import annotations

import asyncio
import math
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from mesh.errors import CallError
from mesh.logs import logger

log = logger("mesh.handlers")

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of a message, also of one that came compressed."""

_GZIP = b"\x1f\x8b"
"""What begins a message that came compressed by gzip, and no other: no message has such a tag."""

Context = grpc.aio.ServicerContext[Any, Any]
Undecodable = Callable[[str, Context], Awaitable[None]]
Read = Callable[[Any], Any]
"""Makes of what gRPC received what a servicer takes: a message, or a stream of them."""


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service to serve.

    `add` is the generated `add_…Servicer_to_server`. `undecodable`, when given, is called with
    method name and context for a request that is no valid message, before the call ends.
    `idle_seconds`, when given, is how long a caller may send nothing on a stream while nothing is
    unanswered.
    """

    name: str
    add: Callable[[Any, Any], None]
    servicer: object
    undecodable: Undecodable | None = None
    idle_seconds: float | None = None


def gateway_request_id(context: Context) -> str | None:
    """Return the id that the gateway gave this call, None for a call from within the mesh."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-request-id":
            return str(value)
    return None


def request_id(context: Context) -> str:
    """Return the gateway's id of this call, a new one for a call from within the mesh."""
    from_gateway = gateway_request_id(context)
    return str(uuid.uuid4()) if from_gateway is None else from_gateway


class CallLimit:
    """Counts the calls in flight, and refuses a call when there are `most`."""

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
class CallLimits:
    """A limit for each kind of call, so that no kind can use up all capacity."""

    calls: CallLimit
    """Calls with one request and one response."""
    streams: CallLimit
    """Calls on which the caller streams."""
    watches: CallLimit
    """Calls on which only the service streams."""


class HandlerWrapper:
    """Stands in for the server when generated code registers a service.

    It wraps every handler once, at start. A wrapped handler decodes requests inside the call, so
    that bytes that are no message get INVALID_ARGUMENT and not UNKNOWN with internal text, and
    gives all errors one shape. An interceptor would cost a further coroutine for each call.
    """

    def __init__(self, server: grpc.aio.Server, limits: CallLimits, service: Service) -> None:
        self._server = server
        self._limits = limits
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
        encode = handler.response_serializer
        message = partial(_decoded, handler.request_deserializer)
        messages = partial(self._requests, handler.request_deserializer)
        limits = self._limits
        if handler.unary_unary:
            call = self._answer_once(name, handler.unary_unary, message, limits.calls)
            return grpc.unary_unary_rpc_method_handler(call, None, encode)
        if handler.unary_stream:
            call = self._answer_stream(name, handler.unary_stream, message, limits.watches)
            return grpc.unary_stream_rpc_method_handler(call, None, encode)
        if handler.stream_unary:
            call = self._answer_once(name, handler.stream_unary, messages, limits.streams)
            return grpc.stream_unary_rpc_method_handler(call, None, encode)
        call = self._answer_stream(name, handler.stream_stream, messages, limits.streams)
        return grpc.stream_stream_rpc_method_handler(call, None, encode)

    def _answer_once(self, name: str, behaviour: Any, read: Read, limit: CallLimit) -> Any:
        async def call(received: Any, context: Context) -> Any:
            try:
                with limit:
                    return await behaviour(read(received), context)
            except Exception as error:
                del received  # see _end
                await self._end(name, context, error)

        return call

    def _answer_stream(self, name: str, behaviour: Any, read: Read, limit: CallLimit) -> Any:
        async def call(received: Any, context: Context) -> AsyncIterator[Any]:
            try:
                with limit:
                    async for response in behaviour(read(received), context):
                        yield response
            except Exception as error:
                del received  # see _end
                await self._end(name, context, error)

        return call

    async def _requests(self, decode: Any, stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Yield what the caller streams. Its time runs only while the service waits for more."""
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
        # gRPC keeps the AbortError with the call, and the error refers to what led to it. The
        # request would stay in memory until the garbage collector runs: late under a flood.
        caught.__traceback__ = None
        error.__traceback__ = error.__cause__ = error.__context__ = None
        status = error.status(call_id).SerializeToString()
        # A servicer may have set trailers; the others are sent beside them.
        trailers = [*(context.trailing_metadata() or ()), ("grpc-status-details-bin", status)]
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
    """The request is no valid message. A DecodeError that a handler raises is a bug of ours."""


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    if data.startswith(_GZIP):
        data = _decompressed(data)
    try:
        return decode(data)
    except DecodeError:
        raise _Undecodable from None


def _decompressed(data: bytes) -> bytes:
    """Return what was compressed by gzip, without ever making more of it than a message may be."""
    gzip = zlib.decompressobj(wbits=31)
    try:
        plain = gzip.decompress(data, MAX_MESSAGE_BYTES + 1)
    except zlib.error:
        raise _Undecodable from None
    if len(plain) > MAX_MESSAGE_BYTES:
        raise CallError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "BODY_TOO_LARGE",
            "The message is too large. Send at most 4 MiB, counted before it is compressed.",
        )
    if not gzip.eof or gzip.unused_data:
        raise _Undecodable
    return plain
