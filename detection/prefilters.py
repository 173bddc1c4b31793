"""How a pattern begins: the part that is looked for in every text before the pattern itself is."""

from __future__ import annotations

import re

_LENGTH = 12
"""How many characters of a pattern are kept: enough to be rare, few enough to be quick."""
_SHORTEST = 4

_ATOM = re.compile(
    r"\\x[0-9A-Fa-f]{2}|\\[bntr]|\\[^A-Za-z0-9]|\[\^?(?:\\.|[^\]\\]){1,200}\]|\((?:\?[a-z]{0,3}:)?"
    r"|[^()|*+?{}\[\]\\^$]"
)
_REPEAT = re.compile(r"[?*+]|\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}")
_FEW = 3
"""A part that may stand at most so often is kept as it is."""


def beginning(pattern: str) -> str:
    """Return a pattern for the first characters of what ``pattern`` matches, by each alternative.

    It occurs wherever ``pattern`` does. Raises ValueError where fewer than four characters are
    sure, or where something is used that is not known here, such as a lazy repetition.
    """
    text, shortest, _, end = _alternatives(pattern, 0, _LENGTH)
    if end < len(pattern) or shortest < _SHORTEST:
        raise ValueError(f"state a prefilter: nothing long enough is sure to begin {pattern!r}")
    return text


def _alternatives(pattern: str, position: int, length: int) -> tuple[str, int, bool, int]:
    """Return how alternatives begin, how long the shortest is at least, whether that is all of
    them, and where in ``pattern`` they end."""
    texts, shortest, whole = [], length, True
    while True:
        text, size, complete, position = _sequence(pattern, position, length)
        texts.append(text)
        shortest, whole = min(shortest, size), whole and complete
        if not pattern.startswith("|", position):
            return "|".join(texts), shortest, whole, position
        position += 1


def _sequence(pattern: str, position: int, length: int) -> tuple[str, int, bool, int]:
    text, size, whole = "", 0, True
    most: int | None
    while atom := _ATOM.match(pattern, position):
        part, width, complete, position = atom.group(), 1, True, atom.end()
        if part == r"\b":
            width = 0
        elif part.startswith("("):
            inner, width, complete, position = _alternatives(pattern, position, length - size)
            part = f"{part}{inner})"
            if not pattern.startswith(")", position):
                raise ValueError(f"state a prefilter: {pattern!r} is not understood")
            position += 1
        least, most, times = 1, 1, ""
        if repeat := _REPEAT.match(pattern, position):
            times, position = repeat.group(), repeat.end()
            least, most = _times(repeat)
        if not whole or size >= length:
            whole = False
        elif complete and most is not None and most <= _FEW:
            text += part + times
            size += width * least
        elif least:
            kept = min(least, (length - size) // width or 1) if complete and width else 1
            text += part if kept == 1 else f"{part}{{{kept}}}"
            size += width * kept
            whole = complete and kept == most
        else:
            whole = False
    return text, size, whole, position


def _times(repeat: re.Match[str]) -> tuple[int, int | None]:
    """Return how often the part before ``repeat`` stands, at least and at most."""
    if repeat[1] is None:
        return {"?": (0, 1), "*": (0, None), "+": (1, None)}[repeat.group()]
    least = int(repeat[1])
    return least, least if repeat[2] is None else int(repeat[3]) if repeat[3] else None
