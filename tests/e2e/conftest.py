"""The one mesh that most end-to-end tests share, and its client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.mesh import LocalMesh
from tests.e2e.client import Client
from tests.e2e.meshes import mesh_with_database


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with mesh_with_database(tmp_path_factory.mktemp("mesh")) as (mesh, database):
        mesh.start()
        yield Client(mesh, database)
        mesh.stop()


@pytest.fixture(scope="session")
def mesh(client: Client) -> LocalMesh:
    return client.mesh
