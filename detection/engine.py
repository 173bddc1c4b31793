"""The typed seam to google-re2, the only module that knows its Python wrapper.

RE2 matches in time linear in the text, whatever the pattern, which is why a policy may bring its
own patterns: a hostile text or a careless pattern cannot stop a scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import re2

_UNANCHORED = re2._Anchor.UNANCHORED
_AT_START = re2._Anchor.ANCHOR_START
_WHOLE = re2._Anchor.ANCHOR_BOTH
_NOWHERE = (-1, -1)

# A set of patterns keeps its automaton in memory and starts it afresh when full: with the built-in
# patterns 64 MiB is many times what hostile texts of 64 KB were seen to use.
_SET_MEMORY_BYTES = 64 << 20

SENTINEL = b"\x1f\x1a\x1f"
"""What every scanned text must end with: a set that does not report it has failed."""


class EngineError(Exception):
    """The matcher failed; nothing is known about the text. Refuse it."""


class PatternError(ValueError):
    """RE2 refuses a pattern, or so many at once. The text is RE2's reason, which can quote the
    pattern."""


class _Matcher(Protocol):
    def Match(self, anchor: object, text: bytes, start: int, end: int) -> list[tuple[int, int]]: ...


class Pattern:
    """One compiled pattern over UTF-8 bytes."""

    __slots__ = ("_match", "group")

    def __init__(self, source: str) -> None:
        try:
            compiled = re2.compile(source.encode(), _options())
        except re2.error as error:
            raise PatternError(_reason(error)) from None
        self.group = 1 if compiled.groups else 0
        # The wrapper's finditer costs twice as much a match as the matcher under it, and the
        # cost of a match is what bounds a hostile text full of candidates.
        self._match = cast(_Matcher, compiled._regexp).Match

    def find(self, text: bytes, start: int, end: int) -> tuple[int, int, int] | None:
        """Return (start of the part looked for, its end, end of the whole match), or None.

        The part looked for is the first group that took part and is not empty, else the whole
        match. Text outside ``start`` and ``end`` still counts for ``\\b``.
        """
        spans = self._match(_UNANCHORED, text, start, end)
        whole = spans[0]
        if whole == _NOWHERE:
            return None
        if self.group:
            for span in spans[1:]:
                if span[0] < span[1]:
                    return span[0], span[1], whole[1]
        return whole[0], whole[1], whole[1]

    def occurs(self, text: bytes, start: int, end: int) -> bool:
        """Tell whether the pattern matches anywhere between ``start`` and ``end``."""
        return self._match(_UNANCHORED, text, start, end)[0] != _NOWHERE

    def begins(self, text: bytes, start: int, end: int) -> int | None:
        """Return where the match ends that begins right at ``start``, or None."""
        first, last = self._match(_AT_START, text, start, end)[0]
        return last if first >= 0 else None

    def fills(self, text: bytes) -> bool:
        """Tell whether the pattern matches the whole of ``text``."""
        return self._match(_WHOLE, text, 0, len(text))[0] != _NOWHERE


class PatternSet:
    """Many patterns asked at once which of them occur in a text."""

    __slots__ = ("_sentinel", "_set")

    def __init__(self, sources: list[str]) -> None:
        self._set = re2.Set.SearchSet(_options())
        for source in sources:
            try:
                self._set.Add(source.encode())
            except re2.error as error:
                raise PatternError(_reason(error)) from None
        self._sentinel = self._set.Add(rb"\x1f\x1a\x1f\z")
        try:
            self._set.Compile()
        except re2.error as error:
            raise PatternError(_reason(error)) from None

    def matching(self, text: bytes) -> set[int]:
        """Return the numbers of the patterns that occur in ``text``, which ends with SENTINEL.

        Raises EngineError when RE2 gave up: its answer then looks like "nothing found".
        """
        found: list[int] = self._set.Match(text)
        if not found:
            raise EngineError("the pattern set gave no answer")
        numbers = set(found)
        if self._sentinel not in numbers:
            raise EngineError("the pattern set gave half an answer")
        numbers.discard(self._sentinel)
        return numbers


def every(pattern: Pattern, text: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield every match of ``pattern`` from left to right, none overlapping another."""
    position, end = 0, len(text)
    while (match := pattern.find(text, position, end)) is not None:
        yield match
        position = max(match[2], position + 1)


def _options() -> object:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _SET_MEMORY_BYTES
    return options


def _reason(error: BaseException) -> str:
    reason = error.args[0] if error.args else "not a valid pattern"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
