"""What the scorecard is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One submission and the detectors that must report something in it.

    ``also`` may be reported and need not be: the word "ssn" beside a number is a keyword.
    """

    family: str
    content: object
    expected: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
