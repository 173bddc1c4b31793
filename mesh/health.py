"""Health of a process: it serves only while every component that it needs answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from mesh.errors import CallError
from mesh.logs import logger

log = logger("mesh.health")

Probe = Callable[[], Awaitable[None]]
"""Returns when the component can be used; raises when it cannot. The reason holds no payload."""

PROBE_INTERVAL_SECONDS = 0.5
"""Between two probes of a component while it fails or is in use."""
QUIET_INTERVAL_SECONDS = 1.5
"""Between two probes of one that is well and not in use."""
OBSERVED_FAILING_SECONDS = 2.0
OBSERVED_INTERVAL_SECONDS = 10.0
"""Between two probes of an observed service that fails, and of one that is well: a call to another
process costs both, and nothing is routed by what they find."""
PROBE_TIMEOUT_SECONDS = 2.0


class Health:
    """The state of this process for grpc.health.v1: it serves while all its components do.

    `services` are the names that have the state of the process, as the empty name always has.
    `probes` are the components by name; each is unhealthy until its probe first succeeds.
    `observed_services` are further names that callers may ask about, such as services of other
    processes; their states do not affect that of this process. `in_use`, when given, tells whether
    the components are used; then they are probed more often.
    """

    def __init__(
        self,
        services: Sequence[str],
        probes: Mapping[str, Probe],
        observed_services: Mapping[str, Probe] | None = None,
        in_use: Callable[[], bool] | None = None,
    ) -> None:
        self.servicer = HealthServicer()
        self._services = ["", *services]
        self._probes = probes
        self._observed_services = observed_services or {}
        self._in_use = in_use
        self._failing: dict[str, str] = dict.fromkeys(probes, "not probed yet")
        self._draining = False
        for service in (*self._services, *self._observed_services):
            self._set(service, False)

    @property
    def failing(self) -> Mapping[str, str]:
        """The components that do not answer, each with its reason."""
        return self._failing

    async def watch(self) -> None:
        """Probe all components, over and over. Runs until cancelled."""
        self._publish()
        async with asyncio.TaskGroup() as group:
            for name, probe in self._probes.items():
                group.create_task(self._watch_component(name, probe))
            for name, probe in self._observed_services.items():
                group.create_task(self._watch_observed(name, probe))
            await asyncio.Event().wait()

    def drain(self) -> None:
        """Say NOT_SERVING from now on, whatever the probes find."""
        self._draining = True
        self._publish()

    async def _watch_component(self, name: str, probe: Probe) -> None:
        while True:
            reason = await _probe(probe)
            known = self._failing.get(name)
            if reason is None:
                self._failing.pop(name, None)
            else:
                self._failing[name] = reason
            if reason != known:
                log.warning("component", component=name, healthy=reason is None, reason=reason)
            self._publish()
            await self._until_next_probe(is_well=reason is None)

    async def _until_next_probe(self, is_well: bool) -> None:
        quiet = QUIET_INTERVAL_SECONDS if is_well else PROBE_INTERVAL_SECONDS
        if self._in_use is None:
            await asyncio.sleep(quiet)
            return
        while quiet > 0:
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
            quiet = 0 if self._in_use() else quiet - PROBE_INTERVAL_SECONDS

    async def _watch_observed(self, service: str, probe: Probe) -> None:
        while True:
            is_well = await _probe(probe) is None
            self._set(service, is_well)
            await asyncio.sleep(OBSERVED_INTERVAL_SECONDS if is_well else OBSERVED_FAILING_SECONDS)

    def _publish(self) -> None:
        for service in self._services:
            self._set(service, not self._failing and not self._draining)

    def _set(self, service: str, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        self.servicer.set(service, status.SERVING if serving else status.NOT_SERVING)


class HealthServicer:
    """Answers the calls of grpc.health.v1.

    The library's servicer loses watchers when one of several leaves, and one that does not read
    delays changes for all others.
    """

    def __init__(self) -> None:
        self._states: dict[str, health_pb2.HealthCheckResponse.ServingStatus] = {}
        self._changed = asyncio.Event()

    def set(self, service: str, state: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Answer with `state` from now on, and send it to all who watch."""
        if self._states.get(service) != state:
            self._states[service] = state
            self._changed.set()
            self._changed = asyncio.Event()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Return the state of a service."""
        state = self._states.get(request.service)
        if state is None:
            raise CallError(
                grpc.StatusCode.NOT_FOUND,
                "SERVICE_UNKNOWN",
                "There is no such service here. Leave it empty to ask about the process.",
            )
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Send the state of a service, now and at every change."""
        sent = None
        while True:
            changed = self._changed
            state = self._states.get(
                request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            )
            if state != sent:
                yield health_pb2.HealthCheckResponse(status=state)
                sent = state
            await changed.wait()


async def _probe(probe: Probe) -> str | None:
    """Return why the component cannot be used, or None when it can."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await probe()
    except Unhealthy as error:
        return str(error)
    except Exception as error:
        return type(error).__name__
    return None


class Unhealthy(Exception):
    """Raised by a probe; its text is shown to operators and holds no payload."""
