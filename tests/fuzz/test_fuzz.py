"""A short run of the fuzzer on every surface; `make fuzz` is the long one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.fuzzing import MAX_GROWTH_BYTES, Fuzzer, fuzzer_of, mesh_to_fuzz

START = 20261124
"""The same inputs every time, so that a failure means a change."""


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzer]:
    mesh = mesh_to_fuzz(tmp_path_factory.mktemp("fuzz"))
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


def test_repetitions(fuzzer: Fuzzer) -> None:
    fuzzer.repetitions(60, START)


def test_odd_submissions(fuzzer: Fuzzer) -> None:
    fuzzer.odd_submissions(225, START)


def test_large_batches(fuzzer: Fuzzer) -> None:
    fuzzer.large_batches(1, START)
