"""The one mesh that most end-to-end tests share, and its client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.mesh import LocalMesh
from tests.e2e.meshes import running_client
from tests.kit.client import Client


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_client(tmp_path_factory.mktemp("mesh")) as client:
        yield client


@pytest.fixture(scope="session")
def mesh(client: Client) -> LocalMesh:
    return client.mesh
