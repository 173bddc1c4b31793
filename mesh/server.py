"""A gRPC server of the mesh: its options, its start and how it drains."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc

from mesh import reflection
from mesh.handlers import MAX_MESSAGE_BYTES, CallLimit, CallLimits, HandlerWrapper, Service
from mesh.health import Health
from mesh.logs import logger
from mesh.settings import ProcessSettings

log = logger("mesh.server")

OPTIONS = [
    # Otherwise a second process on the same port would silently get some of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # gRPC would decompress a message whole before it looks at its size: a thousand times what was
    # sent. So the handlers do it, for gzip only, which they know by how it begins.
    ("grpc.per_message_decompression", 0),
    ("grpc.compression_enabled_algorithms_bitset", 0b101),  # none and gzip, without deflate
    # The gateway limits headers, but counts neither those that it adds nor what gRPC adds for each.
    # Near this limit gRPC refuses at random, so it has to be well above.
    ("grpc.max_metadata_size", 32 * 1024),
    # The gateway pings, to notice when a process hangs. While only idle streams are open, gRPC
    # would take that for an attack and end them.
    ("grpc.http2.max_ping_strikes", 0),
]


def build(
    settings: ProcessSettings,
    services: Sequence[Service],
    health: Health,
    reflected: Sequence[str] = (),
) -> grpc.aio.Server:
    """Return a server for `services` and grpc.health.v1, bound to the address in `settings`.

    `reflected` are the names of services that reflection shows; when empty, there is no reflection.
    Raises RuntimeError when the address is taken.
    """
    server = grpc.aio.server(options=OPTIONS)
    limits = CallLimits(
        CallLimit(settings.max_concurrent_calls),
        CallLimit(settings.max_concurrent_streams),
        CallLimit(settings.max_concurrent_watches),
    )
    for service in services:
        service.add(service.servicer, HandlerWrapper(server, limits, service))
    # Health checks are answered however many calls there are.
    unlimited = replace(limits, calls=CallLimit(math.inf))
    add_health = health_pb2_grpc.add_HealthServicer_to_server
    states = Service("grpc.health.v1.Health", add_health, health.servicer)
    add_health(health.servicer, HandlerWrapper(server, unlimited, states))
    if reflected:
        names = [*reflected, states.name, *reflection.NAMES]
        servicer = reflection.Reflection(names)
        for name in reflection.NAMES:
            service = Service(
                name,
                reflection.registration(name),
                servicer,
                idle_seconds=settings.stream_idle_seconds,
            )
            service.add(servicer, HandlerWrapper(server, limits, service))
    server.add_insecure_port(settings.listen)
    return server


async def serve(
    settings: ProcessSettings,
    server: grpc.aio.Server,
    health: Health,
    end_streams: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    First, health says NOT_SERVING for `drain_seconds`, so that the gateway sends no new calls; then
    calls in flight get `grace_seconds`. `end_streams`, when given, is called in between: it ends
    the calls that would never end by themselves.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = asyncio.create_task(health.watch())
    # Modules, patterns and contracts stay: each full collection would look through them anew.
    gc.collect()
    gc.freeze()
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
    """Run `main` on a new event loop until it returns."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_as_coroutine(main))


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()
