"""What may stand right before and after a value for it to be a value and not a part of one."""

from __future__ import annotations

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
