"""Words that say what a bare number is, in the languages our callers write.

A number of nine digits is nothing; after "SSN" it is a social security number. Folding has taken
the accents off (see `normalize.py`), so the words are written without them.
"""

from __future__ import annotations

from detection.engine import Pattern
from detection.normalize import fold


class Words:
    """Some words to look for round a candidate.

    ``source`` is a pattern for them, and serves as a prefilter: where none of them is anywhere in
    a submission, nothing needs to look for them again.
    """

    __slots__ = ("alternatives", "occurs", "source")

    def __init__(self, *alternatives: str) -> None:
        self.alternatives = alternatives
        self.source = _whole_words(alternatives)
        self.occurs = Pattern(self.source).occurs


def _whole_words(alternatives: tuple[str, ...]) -> str:
    """Return a pattern for whole words, in any case, also as parts of ``camelCase`` and ``a_b``.

    A space in a word stands for any of the ways to join words, or none.
    """
    forms = []
    for word in alternatives:
        parts = fold(word).split(" ")
        joined = "[ _.-]{0,2}".join(parts)
        if not word.isascii():
            forms.append(f"(?i:{joined})")  # many such scripts do not part their words
            continue
        starts = [rf"(?:\b|_)(?i:{joined})"]
        if len(word) > 2:  # two capitals within a name are too often nothing
            camel = "".join(part.capitalize() for part in parts)
            starts += [f"[a-z][a-z]{camel}", f"[a-z][a-z]{joined.upper()}"]
        forms.append(rf"(?:{'|'.join(starts)})(?:\b|[_0-9]|s\b|[A-Z][a-z])")
    return "|".join(forms)


QUANTITY_WORDS = Words(
    "count", "size", "dim", "dims", "dimension", "shape", "range", "bounds", "price", "cost",
    "amount", "total", "score", "point", "year", "port", "offset", "rgb", "color", "bin", "bucket",
    "stat", "metric", "histogram", "matrix", "vector", "column", "duration", "latency", "width",
    "height", "limit", "version", "coordinate", "weight", "percentile", "interval", "measurement",
    "reading", "quantity", "qty", "page", "resolution", "viewport", "epoch", "timestamp",
)  # fmt: skip
"""Words before a number or over a list that say that its numbers are counted or measured."""
