"""The fault table, its mandatory rows once each; `make faults` runs all, with more seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.row import Row
from tests.faults.runner import run_row
from tests.faults.stage import Stage
from tests.faults.table import ROWS

# Rows of one kind follow each other, so that they can share a mesh.
MANDATORY = sorted((row for row in ROWS if row.in_tests), key=lambda row: row.kind.name)


class Stages:
    """The mesh that is up: replaced when a row needs another kind, or the last row spoilt it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._stage: Stage | None = None

    def stage_for(self, row: Row) -> Stage:
        """Return a mesh of the row's kind."""
        if self._stage is None or self._stage.kind != row.kind:
            self.close()
            self._count += 1
            self._stage = Stage(self._folder / f"mesh{self._count}", row.kind)
            self._stage.start()
        return self._stage

    def close(self) -> None:
        """Stop the mesh."""
        if self._stage is not None:
            self._stage.stop()
            self._stage = None


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    stages = Stages(tmp_path_factory.mktemp("faults"))
    yield stages
    stages.close()


@pytest.mark.parametrize("row", MANDATORY, ids=lambda row: row.name)
def test_promises_are_kept(stages: Stages, row: Row) -> None:
    outcome = run_row(stages.stage_for(row), row, seed=1)
    if row.spends_the_mesh or not outcome.is_green:
        stages.close()
    assert outcome.is_green, outcome.explain()
