"""All rows of the fault table."""

from __future__ import annotations

from tests.faults import faults, odd

ROWS = (*faults.ROWS, *odd.ROWS)
