"""Whole meshes of a test's own, on free ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.mesh import LocalMesh


@contextmanager
def running_mesh(
    folder: Path, environment: Mapping[str, str] | None = None, **settings: int | str
) -> Iterator[LocalMesh]:
    """Start a mesh with everything of it under `folder`, and stop it at the end."""
    mesh = LocalMesh.on_free_ports(folder, environment, **settings)
    try:
        mesh.start()
        yield mesh
    finally:
        mesh.stop()
