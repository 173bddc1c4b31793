"""Patterns of a team's own: what makes one usable, and what runs for it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from detection.engine import Pattern, PatternError
from detection.normalize import fold

_ESCAPE = re.compile(r"\\(?:x\{0*([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|([0-7]{2,3})|.)", re.DOTALL)
_ATOM = re.compile(r"\\.|\[(?:[^\]\\]|\\.)+\]", re.DOTALL)
_ENDLESS = re.compile(r"[*+]|\{[0-9]+,\}")
# Alternatives, repeated groups, and much behind a group, for that may stand for all that is found.
_BRANCHES = re.compile(r"\||\)[*+?{]|\((?!\?:).*\).*(?:[*+]|\{[0-9]+,\})", re.DOTALL)
_RANGE = re.compile(r"[^\x00-\x7f]-|-[^\x00-\x7f]")


def usable_pattern(pattern: str) -> str:
    """Return ``pattern`` where it can be used. Raises ValueError with the reason."""
    plain = _plain(pattern)
    if any(found[0] == r"\C" for found in _ESCAPE.finditer(pattern)):
        raise ValueError("\\C matches parts of characters: use . instead")
    try:
        compiled = Pattern(plain)
    except PatternError:
        raise ValueError("RE2 refuses this pattern (no look-around, no back-references)") from None
    if any(_matches_nothing(compiled, text) for text in (b"", b"a", b" ")):
        raise ValueError("this pattern matches the empty text")
    return pattern


def runnable(pattern: str) -> str:
    """Return the pattern that finds in a folded text what the author of ``pattern`` means.

    ``^`` and ``$`` stand for the bounds of a line, so that nothing hides behind a line end.
    """
    return "(?m)" + _plain(pattern)


def prefilter_of(pattern: str) -> str:
    """Return a pattern that matches in lines whenever ``runnable`` matches in one of them.

    Where a pattern asks for more than lines, everything passes.
    """
    asks_more = re.search(r"\\[Az]|\(\?[A-Za-z]*-", pattern)
    return "" if asks_more else runnable(pattern)


def may_look_far(pattern: str) -> bool:
    """Tell whether finding all that ``pattern`` matches may take longer than linear in the text.

    RE2 reads on behind a match while something longer may come, in ``a.*b|a`` to the end of the
    line, and that for every match. It cannot do so again and again where nothing repeats without
    end, or where parts simply follow each other: what one part runs over would belong to the match.
    """
    bare = _ATOM.sub("x", pattern)
    return r"\Q" in pattern or bool(_ENDLESS.search(bare) and _BRANCHES.search(bare))


def _plain(pattern: str) -> str:
    """Return a pattern in the characters that texts are folded to. Raises ValueError.

    A letter with an accent becomes the letter, as it does in texts; what would become something
    else, an operator for one, cannot be written in a pattern.
    """
    composed = unicodedata.normalize("NFC", pattern)
    folded = [fold(character) for character in composed if fold(character) != character]
    if (
        any(len(plain) != 1 or not plain.isalnum() for plain in folded)
        or (folded and _RANGE.search(composed))
        or any(fold(character) != character for character in _written_as_numbers(composed))
    ):
        raise ValueError(
            "texts are matched without accents, control characters and look-alikes of letters, "
            "digits, dashes and dots: write the plain character"
        )
    return fold(composed)


def _written_as_numbers(pattern: str) -> Iterator[str]:
    """Yield the characters beyond ASCII and controls that stand as numbers in a pattern."""
    for found in _ESCAPE.finditer(pattern):
        hexadecimal, octal = found[1] or found[2], found[3]
        if hexadecimal or octal:
            point = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
            if 0xA0 <= point <= 0x10FFFF:
                yield chr(point)


def _matches_nothing(pattern: Pattern, text: bytes) -> bool:
    found = pattern.find(text, 0, len(text))
    return found is not None and found[0] == found[1]
