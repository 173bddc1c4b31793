"""Clients of the mesh for the security checklist."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import pytest

from deploy.local.mesh import LocalMesh
from tests.kit.client import Client
from tests.security import slow
from tests.security.wire import Exchange


@pytest.fixture(scope="session")
def client(mesh: LocalMesh) -> Client:
    return Client(mesh)


@pytest.fixture(scope="session")
def channel(mesh: LocalMesh) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(mesh.gateway, options=options) as channel:
        yield channel


@pytest.fixture(scope="session")
def ingest_channel(mesh: LocalMesh) -> Iterator[grpc.Channel]:
    """The ingest service itself, as one who has got past the gateway sees it."""
    options = [("grpc.max_send_message_length", -1)]
    address = f"127.0.0.1:{mesh.settings.ingest_grpc_port}"
    with grpc.insecure_channel(address, options=options) as channel:
        yield channel


@pytest.fixture(scope="session", autouse=True)
def slow_exchanges(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Exchange]]]:
    """Clients that take their time, started first and awaited last, since they take half a minute.

    They are started only when a test asks for them.
    """
    if not any(item.path.name == "test_slow_clients.py" for item in request.session.items):
        yield {}
        return
    mesh: LocalMesh = request.getfixturevalue("mesh")
    with ThreadPoolExecutor(len(slow.CLIENTS)) as pool:
        yield {name: pool.submit(run, mesh) for name, run in slow.CLIENTS.items()}
