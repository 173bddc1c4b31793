"""What a row of the fault table is.

What a row must keep is the same for all and is the checker's business; a row adds only what is
particular to it (`scene.expect`). Rows that cannot run here are in README.md, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.scene import Scene
from tests.faults.stage import TWO_OF_EACH, Kind


@dataclass(frozen=True)
class Row:
    """One row of the table. `strike` returns when the fault is over, or has been left to heal."""

    name: str
    what: str
    bound: float
    """Seconds within which all must be well again, counted from `scene.lift()`."""
    strike: Callable[[Scene], None]
    kind: Kind = TWO_OF_EACH
    rate: float = 80.0
    """Calls a second of the load; 0 for none."""
    dead_letters: int | None = 0
    """How many dead letters the row is to leave; None when `clean` looks at them."""
    no_call_fails: bool = False
    """Whether no call of the load may end without an answer."""
    spends_the_mesh: bool = False
    """Whether no other row may follow on this mesh."""
    in_tests: bool = True
    """Whether `make test` runs it."""
    only_by_name: bool = False
    """Whether it runs only when it is asked for, since it takes so long."""
    clean: Callable[[Scene, dict[str, Any]], None] | None = None
    """Looks at what is particular to the row and removes what it left."""
