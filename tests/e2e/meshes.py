"""The mesh under an end-to-end test: on an InfluxDB of its own, or on a 2.7 that it is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.mesh import LocalMesh
from deploy.local.supervision import Supervisor
from tests.e2e.influx2 import Influx2
from tests.kit.client import Client


@contextmanager
def running_client(folder: Path) -> Iterator[Client]:
    """Start such a mesh, yield a client of it, and stop it at the end."""
    with mesh_with_database(folder) as (mesh, database):
        try:
            mesh.start()
            yield Client(mesh, database)
        finally:
            mesh.stop()


@contextmanager
def mesh_with_database(folder: Path) -> Iterator[tuple[LocalMesh, Supervisor]]:
    """Yield a mesh that is not started yet, and whoever supervises its InfluxDB.

    SLUICE_E2E_INFLUX2 decides, which `make test-influx2` sets.
    """
    if not os.environ.get("SLUICE_E2E_INFLUX2"):
        mesh = LocalMesh.on_free_ports(folder)
        yield mesh, mesh.supervisor
        return
    with Influx2(folder / "influx2") as influx:
        yield LocalMesh.on_free_ports(folder / "mesh", None, **influx.settings), influx.supervisor
