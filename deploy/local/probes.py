"""Whether the programs of the local mesh, and servers that it was told to use, are healthy."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis, RedisError

from deploy.local import admin
from deploy.local.settings import HOST, LocalSettings

PROBE_SECONDS = 2.0

Probe = Callable[[], None]
"""Returns when the program is healthy, raises when it is not."""


def check_redis(url: str) -> None:
    """Ping a Redis, or the first node of a cluster that answers.

    Raises what the client raises when none does.
    """
    scheme, _, hosts = url.partition("+cluster://")
    if hosts:
        user, at, addresses = hosts.rpartition("@")
        urls = [f"{scheme}://{user}{at}{address}" for address in addresses.split(",")]
    else:
        urls = [url]
    for number, each in enumerate(urls, start=1):
        try:
            _ping(each)
        except RedisError:
            if number == len(urls):
                raise
        else:
            return


def _ping(url: str) -> None:
    with Redis.from_url(url, socket_timeout=PROBE_SECONDS) as client:
        client.ping()


def check_http(url: str) -> None:
    """Get `url`. Raises OSError when there is no answer, or an error."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        # It is an answer with a connection, and Python 3.14 warns when that stays open.
        error.close()
        raise


def check_grpc(port: int) -> None:
    """Ask the process on `port` for its health. Raises OSError or grpc.RpcError."""
    if not is_serving(port):
        raise ConnectionError("not serving")


def is_serving(port: int, service: str = "") -> bool:
    """Tell whether a health service of the process on `port` serves. Raises grpc.RpcError."""
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def influx_is_open(url: str) -> bool:
    """Tell whether the InfluxDB at `url` answers queries of anyone, even of web pages."""
    try:
        check_http(f"{url.rstrip('/')}/query?q=SHOW+DATABASES")
    except OSError:
        return False
    return True


def named_servers(settings: LocalSettings) -> dict[str, Probe]:
    """Return the probes of servers that are used instead of starting our own, by variable."""
    named: dict[str, Probe] = {}
    if settings.redis_url:
        named["SLUICE_REDIS_URL"] = partial(check_redis, settings.redis_url)
    if settings.influx_url:
        named["SLUICE_INFLUX_URL"] = partial(check_http, f"{settings.influx_url.rstrip('/')}/ping")
    return named


def gateway_sees_services(settings: LocalSettings) -> bool:
    """Tell whether the gateway knows that every service behind it is healthy.

    It checks that itself, every half second, and answers 503 until then.
    """
    try:
        told = admin.get(admin.socket_path(settings.state), "/clusters", PROBE_SECONDS)
    except OSError:
        return False
    lines = told.decode().splitlines()
    return all(line.endswith("::healthy") for line in lines if "::health_flags::" in line)
