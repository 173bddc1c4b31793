"""What several kinds of tests need: one real mesh on ports of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.mesh import LocalMesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    mesh = LocalMesh.on_free_ports(tmp_path_factory.mktemp("mesh"))
    mesh.start()
    yield mesh
    mesh.stop()
