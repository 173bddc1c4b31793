"""The client of the one mesh that all end-to-end tests share."""

from __future__ import annotations

import pytest

from deploy.local.mesh import LocalMesh
from tests.e2e.client import Client


@pytest.fixture(scope="session")
def client(mesh: LocalMesh) -> Client:
    return Client(mesh)
