"""A short run of the fuzzer on every surface; `make fuzz` is the long one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.mesh import LocalMesh
from tests.fuzz.fuzzing import MAX_GROWTH_BYTES, Fuzzer, fuzzer_of

START = 20261124
"""The same inputs every time, so that a failure means a change."""


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    mesh = LocalMesh.on_free_ports(tmp_path_factory.mktemp("fuzz"))
    mesh.start()
    with fuzzer_of(mesh) as fuzzer:
        memory, started = fuzzer.memory(), fuzzer.restarts()
        yield fuzzer
        assert fuzzer.memory() - memory < MAX_GROWTH_BYTES
        assert fuzzer.restarts() == started
    mesh.stop()


def test_rest(fuzzer: Fuzzer) -> None:
    fuzzer.rest(250, START)


def test_raw_bytes(fuzzer: Fuzzer) -> None:
    fuzzer.raw_bytes(200, START)


def test_value_trees(fuzzer: Fuzzer) -> None:
    fuzzer.value_trees(80, START)


def test_streams(fuzzer: Fuzzer) -> None:
    fuzzer.streams(50, START)
