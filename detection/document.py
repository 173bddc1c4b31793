"""All texts of one submission, joined into the one byte string that patterns run over."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from detection.engine import SENTINEL, Pattern, every
from detection.fields import ROOT, Fields, Place
from detection.normalize import Trace, fold
from detection.words import Words

SEPARATOR = b"\x1f"
"""Stands before, between and after the texts. Folding removes it from the texts themselves, and no
built-in pattern matches it, so a match lies within one text."""

# Every control character but tab, newline, carriage return.
CONTROLS = bytes({*range(32), 127} - {9, 10, 13})

# Code points of a long text are counted once, by blocks of this many bytes.
_BLOCK = 1024
_CONTINUATION = bytes(range(0x80, 0xC0))

# How far from a candidate a word may stand and still say what the candidate is, in bytes.
_BEFORE = 48
_AFTER = 28

_ENDS_A_VALUE = re.compile(rb"[ \t\r\n\x1f\"'`;]")

# A value no longer than this may name what its neighbours in the same object are.
_LABEL_LENGTH = 32


class Document:
    """The joined texts, with the way back from a position in them to a text and a span.

    ``raw`` is what patterns match: folded where a text was not plain ASCII. The texts of `Fields`
    come first, then ``source``, then any derived texts (see `derived.py`).
    """

    __slots__ = (
        "_children",
        "_counts",
        "_holders",
        "_labels",
        "_named",
        "_origins",
        "_said",
        "_starts",
        "_traces",
        "_value",
        "absent",
        "fields",
        "folded",
        "raw",
        "source_index",
        "texts",
    )

    def __init__(
        self, fields: Fields, source: str, derived: list[str], origins: Sequence[int] = ()
    ) -> None:
        """Join the texts. ``origins`` are the numbers of the texts that ``derived`` ones are of."""
        texts = [*fields.texts, source, *derived]
        joined = "\x1f".join(texts)
        raw = b""
        plain = joined.isascii()
        if plain:
            raw = joined.encode()
            # The separators are the only control characters a plain document holds.
            plain = len(raw) - len(raw.translate(None, CONTROLS)) == len(texts) - 1
        if not plain:
            joined = "\x1f".join([fold(text) for text in texts])
            raw = joined.encode()
        self.absent: frozenset[Words] = frozenset()
        """Words that the scan has found to be nowhere in ``raw``."""
        self.fields = fields
        self.texts = texts
        self.folded = not plain
        self.raw = SEPARATOR + raw + SENTINEL
        self.source_index = len(fields.texts)
        self._origins = origins
        self._starts: list[int] | None = None
        self._counts: dict[int, list[int]] = {}
        self._traces: dict[int, Trace | None] = {}
        self._named: dict[tuple[Words, Place], bool] = {}
        self._said: dict[tuple[Words, Place], bool] = {}
        self._labels: dict[tuple[Words, int], bool] = {}
        self._holders: dict[Pattern, frozenset[int]] = {}
        self._value: tuple[int, int] = (0, 0)
        self._children: dict[int, list[str]] | None = None

    @property
    def pieces(self) -> list[bytes]:
        """Return the texts by themselves as they stand in ``raw``."""
        return self.raw[1:].split(SEPARATOR)[: len(self.texts)]

    @property
    def starts(self) -> list[int]:
        """Return where in ``raw`` each text starts."""
        if self._starts is None:
            if not self.folded:
                lengths = map(len, self.texts)
            else:
                lengths = map(len, self.raw[1:].split(SEPARATOR))
            self._starts = [1, *(total + n + 1 for n, total in enumerate(accumulate(lengths), 1))]
        return self._starts

    def index_at(self, position: int) -> int:
        """Return the number of the text that ``position`` of ``raw`` belongs to."""
        return bisect_right(self.starts, position) - 1

    def bounds(self, index: int) -> tuple[int, int]:
        """Return start and end in ``raw`` of text ``index``."""
        return self.starts[index], self.starts[index + 1] - 1

    def span(self, index: int, start: int, end: int) -> tuple[int, int]:
        """Turn a span of ``raw`` within text ``index`` into code points of the original text."""
        base = self.starts[index]
        if not self.folded:
            return start - base, end - base
        first, last = self._characters(index, start), self._characters(index, end)
        if index not in self._traces:
            text = self.texts[index]
            plain = text.isascii() and text.isprintable()
            self._traces[index] = None if plain else Trace(text)
        trace = self._traces[index]
        return (first, last) if trace is None else (trace.start(first), trace.end(last))

    def _characters(self, index: int, position: int) -> int:
        """Return how many code points text ``index`` has before ``position`` of ``raw``."""
        base, raw = self.starts[index], self.raw
        counts = self._counts.get(index)
        if counts is None:
            blocks = range(base, self.starts[index + 1], _BLOCK)
            sizes = (_code_points(raw[first : first + _BLOCK]) for first in blocks)
            counts = self._counts[index] = [0, *accumulate(sizes)]
        block = (position - base) // _BLOCK
        return counts[block] + _code_points(raw[base + block * _BLOCK : position])

    def near(self, words: Words, start: int, end: int) -> bool:
        """Tell whether ``words`` stand close to a span, in its own text, or name the value."""
        if words in self.absent:
            return False
        raw = self.raw
        first = max(raw.rfind(SEPARATOR, max(0, start - _BEFORE), start), start - _BEFORE, 0)
        last = raw.find(SEPARATOR, end, end + _AFTER)
        if last < 0:
            last = min(end + _AFTER, len(raw))
        return (
            words.occurs(raw, first, start + 1)
            or words.occurs(raw, end, last)
            or self.named(words, self.index_at(start))
        )

    def before(self, words: Words, start: int, reach: int = _BEFORE) -> bool:
        """Tell whether ``words`` stand in the ``reach`` bytes before a position, in its line."""
        if words in self.absent:
            return False
        raw, earliest = self.raw, max(0, start - reach)
        first = max(raw.rfind(SEPARATOR, earliest, start), raw.rfind(b"\n", earliest, start))
        return words.occurs(raw, max(first, earliest), start)

    def named(self, words: Words, index: int) -> bool:
        """Tell whether ``words`` occur in the keys above text ``index`` or label it.

        Asked are the value's own key and the two above it, and the short values beside it in the
        same object (``{"type": "passport", "number": ...}``).
        """
        fields = self.fields
        if index > self.source_index:
            index = self._origins[index - self.source_index - 1]
        if words in self.absent or index >= len(fields.texts) or fields.is_key[index]:
            return False
        return self._place_named(words, fields.places[index])

    def key_of(self, index: int) -> str | None:
        """Return the key that a value stands under directly, or None."""
        fields = self.fields
        if index >= len(fields.texts) or fields.is_key[index]:
            return None
        token = fields.places[index][1]
        return token if isinstance(token, str) and fields.places[index][0] != ROOT else None

    def containers_with(self, pattern: Pattern) -> frozenset[int]:
        """Return the objects and lists that have a value in which ``pattern`` occurs."""
        known = self._holders.get(pattern)
        if known is None:
            fields, owners = self.fields, set()
            for start, _, _ in every(pattern, self.raw):
                index = self.index_at(start)
                if index < len(fields.texts) and fields.places[index][0] != ROOT:
                    owners.add(fields.places[index][0])
            known = self._holders[pattern] = frozenset(owners)
        return known

    def members_named(self, words: Words, containers: set[int] | None) -> list[int]:
        """Return the numbers of the values that stand under keys that say ``words``, in one of some
        objects, or in any where None."""
        fields = self.fields
        said: dict[str, bool] = {}
        found: list[int] = []
        for index, (owner, token) in enumerate(fields.places):
            if not isinstance(token, str) or fields.is_key[index]:
                continue
            if containers is None or owner in containers:
                if token not in said:
                    said[token] = says(words, token)
                if said[token]:
                    found.append(index)
        return found

    def value_end(self, position: int) -> int:
        """Return where from ``position`` on the next blank, quote, semicolon or the end of the text
        is. Asked from left to right, it looks at each byte once."""
        first, stop = self._value
        if not first <= position <= stop:
            match = _ENDS_A_VALUE.search(self.raw, position)
            stop = match.start() if match else len(self.raw)
            self._value = (position, stop)
        return stop

    def object_of(self, index: int) -> int:
        """Return the object that a text stands in, lists between them left out, or ROOT."""
        fields = self.fields
        if index > self.source_index:
            index = self._origins[index - self.source_index - 1]
        if index >= len(fields.texts):
            return ROOT
        owner, token = fields.places[index]
        while owner != ROOT and isinstance(token, int):
            owner, token = fields.containers[owner]
        return owner

    def _place_named(self, words: Words, place: Place) -> bool:
        # List items share an answer: what names them is the list's place.
        owner, token = place
        known = (words, place if isinstance(token, str) else (owner, 0))
        answer = self._named.get(known)
        if answer is None:
            answer = self._named[known] = self._ask_place(words, place)
        return answer

    def _ask_place(self, words: Words, place: Place) -> bool:
        owner, token = place
        if owner != ROOT and isinstance(token, str) and self._labelled(words, owner):
            return True
        steps = 0
        while owner != ROOT and steps < 3:
            if isinstance(token, str):
                steps += 1
                # Every value below a key asks it, and a key may be long.
                said = self._said.get((words, (owner, token)))
                if said is None:
                    said = self._said[words, (owner, token)] = says(words, token)
                if said:
                    return True
            owner, token = self.fields.containers[owner]
        return False

    def _labelled(self, words: Words, container: int) -> bool:
        answer = self._labels.get((words, container))
        if answer is None:
            if self._children is None:
                self._children = self._short_values()
            answer = any(says(words, text) for text in self._children.get(container, ()))
            self._labels[words, container] = answer
        return answer

    def _short_values(self) -> dict[int, list[str]]:
        values: dict[int, list[str]] = {}
        fields = self.fields
        for text, (owner, token), key in zip(
            fields.texts, fields.places, fields.is_key, strict=True
        ):
            if not key and isinstance(token, str) and 2 < len(text) <= _LABEL_LENGTH:
                values.setdefault(owner, []).append(text)
        return values


def _code_points(utf8: bytes) -> int:
    return len(utf8.translate(None, _CONTINUATION))


def says(words: Words, text: str) -> bool:
    """Tell whether ``words`` occur in a key or a short value."""
    padded = SEPARATOR + fold(text).encode() + SEPARATOR
    return words.occurs(padded, 0, len(padded))
