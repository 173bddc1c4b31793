"""Undo the ways of writing a value so that a pattern misses it.

Applied only to texts that are not plain ASCII. Each character is folded on its own, so that a
position in the folded text can be traced back: compatibility forms (full-width and mathematical
letters and digits), every script's decimal digits, accents, look-alike dashes, dots and spaces,
and characters that show nothing (zero-width, soft hyphen, direction marks, combining marks).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from itertools import accumulate

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u207b\u2212\u2796\u30fc\ufe58\ufe63\uff0d"
_DOTS = "\u00b7\u2022\u2024\u2027\u2219\u22c5\u30fb\u3002\uff0e\uff61\u06d4"
# Shown as nothing, assigned or not: Default_Ignorable_Code_Point of Unicode's
# DerivedCoreProperties, and the blank of Braille.
_INVISIBLE = frozenset(
    chr(point)
    for first, last in (
        (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
        (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800),
        (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
        (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    )
    for point in range(first, last + 1)
)  # fmt: skip
_PLAIN_CONTROLS = "\t\n\r"


class _Folding(dict[int, str]):
    """What each code point becomes; filled as characters are met. At most all of Unicode."""

    def __missing__(self, point: int) -> str:
        folded = self[point] = _fold(chr(point))
        return folded


def _fold(character: str) -> str:
    if character in _DASHES:
        return "-"
    if character in _DOTS:
        return "."
    if character in _INVISIBLE:
        return ""
    category = unicodedata.category(character)
    if category == "Cc":
        return character if character in _PLAIN_CONTROLS else " "
    if category in ("Cf", "Mn", "Me"):
        return ""
    if category in ("Zs", "Zl", "Zp"):
        return " "
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category == "Cs":  # a lone surrogate cannot be encoded
        return "\ufffd"
    parts = unicodedata.normalize("NFKD", character)
    if parts == character:
        return character
    return "".join(_fold(part) if part != character else part for part in parts)


_FOLDING = _Folding({point: chr(point) for point in range(0x20, 0x7F)})
for _point in (*range(0x20), 0x7F):
    _FOLDING[_point] = _fold(chr(_point))


def fold(text: str) -> str:
    """Return ``text`` with its disguises off. It may be longer or shorter; see `Trace`."""
    return text.translate(_FOLDING)


class Trace:
    """Leads from positions in a folded text back to those in the text it was made from."""

    __slots__ = ("_ends",)

    def __init__(self, original: str) -> None:
        folding = _FOLDING
        self._ends = list(accumulate(len(folding[ord(character)]) for character in original))

    def start(self, folded: int) -> int:
        """Return where in the original the character at ``folded`` was made from."""
        return bisect_right(self._ends, folded)

    def end(self, folded: int) -> int:
        """Return the end in the original of the span whose end is ``folded``."""
        return bisect_right(self._ends, folded - 1) + 1 if folded else 0
