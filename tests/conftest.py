"""What several kinds of tests need: one real mesh on ports of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.mesh import LocalMesh
from tests.kit.meshes import running_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh
