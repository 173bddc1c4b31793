"""What may stand right before and after a value for it to be a value and not a part of one."""

from __future__ import annotations

from itertools import pairwise

DIGITS = frozenset(b"0123456789")
LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
ALPHANUMERIC = DIGITS | LETTERS
_ESCAPED = frozenset(b"nrt")
_BACKSLASH = 0x5C


def clear(raw: bytes, start: int, end: int) -> bool:
    """Tell whether neither neighbour is an ASCII letter or digit. ``raw`` reaches beyond both."""
    return raw[end] not in ALPHANUMERIC and clear_before(raw, start)


def clear_before(raw: bytes, start: int) -> bool:
    """Tell whether the character before is no ASCII letter or digit.

    An escaped line break or tab (``\\n``, in JSON or source code within a text) does not count as
    the letter it is written with.
    """
    before = raw[start - 1]
    return before not in ALPHANUMERIC or (before in _ESCAPED and raw[start - 2] == _BACKSLASH)


_NO_DIGITS = bytes(set(range(256)) - DIGITS)


def digits_of(raw: bytes, start: int, end: int) -> bytes:
    """Return the ASCII digits of a span."""
    return raw[start:end].translate(None, _NO_DIGITS)


def word_before(raw: bytes, start: int) -> bytes:
    """Return the run of at most 16 ASCII letters right before ``start``, in lower case."""
    first = start
    while start - first < 16 and raw[first - 1] in LETTERS:
        first -= 1
    return raw[first:start].lower()


def counted(values: list[int]) -> bool:
    """Tell whether whole numbers are round, or as far from one another: made by counting."""
    steps = {b - a for a, b in pairwise(values)}
    ones = {value % 10 for value in values}
    return ones <= {0, 5} or ones == {9} or (len(values) > 2 and len(steps) == 1 and 0 not in steps)


IN_A_LIST = r"(?:\\{0,4}[\"'])?[ \t]{0,2}[,;][ \t\r\n]{0,24}(?:\\{0,4}[\"'])?"
"""What joins the items of a list that is written out, in JSON or otherwise."""

WRAPPED = r"[ \t]{0,2}\r?\n[ \t>*#|]{0,24}"
"""A line break, with the marks that mail, comments and tables begin a line with."""

_BETWEEN = b" \t\r\n\"'\\"
_REACH = 32


def only_items(raw: bytes, start: int, end: int) -> bool:
    """Tell whether numbers joined by commas or the like are all there are: a list of their own or a
    line of their own, not a row of a table or a part of a longer list or sum."""
    before = raw[max(0, start - _REACH) : start]
    after = raw[end : end + _REACH]
    opened, closed = before.rstrip(_BETWEEN), after.lstrip(_BETWEEN)
    lined = b"\n" in before[len(opened) :] or b"\n" in after[: len(after) - len(closed)]
    first, last = opened[-1:], closed[:1]
    if first == b"[" and last == b"]":  # a list in a list is a row
        above = opened[:-1].rstrip(_BETWEEN)[-1:]
        return not (above == b"[" or (above == b"," and b"]" in opened))
    if first and first in _JOINS:
        return False
    if last and last in _JOINS + b"=" and closed[1:].lstrip(_BETWEEN)[:1].isdigit():
        return False
    return not (lined and (first.isdigit() or last.isdigit()))


_JOINS = b",;+-*/"


def in_number(raw: bytes, start: int, end: int) -> bool:
    """Tell whether a run of digits is a part of a decimal or a dotted or dashed chain."""
    return (raw[start - 1] in b".-" and raw[start - 2] in DIGITS) or (
        raw[end] in b".-" and raw[end + 1] in DIGITS
    )
