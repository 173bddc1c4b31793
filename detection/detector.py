"""What a detector is: a name, the patterns that propose candidates, and the checks that decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from detection.document import Document
from detection.findings import Confidence, Kind
from detection.prefilters import beginning
from detection.words import Words

UNLIMITED = 1 << 30

MANY = 3_000
"""Enough refused candidates for what occurs over and over in logs: masked passwords, samples, part
numbers."""


class Hit(NamedTuple):
    """What a check takes for the real thing: a span of the joined bytes, and how sure it is."""

    start: int
    end: int
    confidence: Confidence


Check = Callable[[Document, int, int], Hit | None]
"""Judges the candidate between two positions of the joined bytes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which a detector finds values.

    ``pattern`` is RE2: no look-around, no back-references, and no ``\\s``, which would cross from
    one text into the next. Where it has groups, the first one that is not empty is the candidate.
    Patterns propose candidates and are kept loose; ``check`` decides.

    ``prefilter`` is a pattern that occurs in every text in which the rule finds something. The
    prefilters of all rules run together as one automaton over every text, and only where one of
    them matches its rule runs. By default it is how ``pattern`` begins. State one where something
    else is rarer in ordinary text: a sign in the middle of the pattern, or the words without which
    the check accepts nothing. The tests hold it against pattern and check.

    ``step`` is how far behind the start of a refused candidate the search goes on (0: behind its
    end). ``max_refused`` is how many candidates may be refused in one scan; from there on every
    candidate counts as found, so that a text made of near misses cannot buy more than that many
    costly checks.
    """

    pattern: str
    check: Check
    prefilter: str = ""
    step: int = 0
    max_refused: int = UNLIMITED

    def __post_init__(self) -> None:
        if not self.prefilter:
            object.__setattr__(self, "prefilter", beginning(self.pattern))


@dataclass(frozen=True, slots=True)
class Detector:
    """Everything there is to know about one detector. Its file is named as it is.

    ``words`` are those that its checks look for round a candidate: they are looked for once in the
    whole submission, and where they are nowhere no check searches again. Each text of ``hits`` must
    give a finding of this detector with the packaged policy, none of ``misses`` may.

    What belongs to a finding and is hidden with it: ``spans_beside`` returns spans of the joined
    bytes, given those of one finding. ``texts_beside`` returns the numbers of texts that are hidden
    whole, given the spans of all findings and whether the submission is refused.
    """

    name: str
    kind: Kind
    rules: tuple[Rule, ...]
    hits: tuple[str, ...]
    misses: tuple[str, ...]
    words: tuple[Words, ...] = ()
    spans_beside: Callable[[Document, int, int], list[tuple[int, int]]] | None = None
    texts_beside: Callable[[Document, list[tuple[int, int]], bool], list[int]] | None = None
