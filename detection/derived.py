"""Texts that nobody wrote as such but that a reader would put together: split and encoded values.

Covered: a list of short strings and whole numbers that together are one value of 9 to 34 characters
(``["4111", "1111", "1111", "1111"]``, ``[123, 45, 6789]``, two halves, single characters);
percent-encoding, HTML entities, the escapes of JSON strings and quoted-printable, alone or within
themselves, where digits stand beside them; and, where the policy asks for it, base64 of a short
text. Not covered: parts in different members of an object, parts with other texts between them,
one kind of encoding within another.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape

from detection.card_numbers import is_card
from detection.detectors.payment_card import CARD_WORDS
from detection.detectors.us_ssn import plausible_ssn
from detection.document import Document, says
from detection.edges import counted
from detection.engine import Pattern
from detection.fields import ROOT, Fields, may_be_one
from detection.normalize import fold
from detection.three_two_four import SSN_WORDS
from detection.words import QUANTITY_WORDS, Words

_SHORTEST_WHOLE = 9
_LONGEST_WHOLE = 34
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,1024}={0,2}(?![A-Za-z0-9+/=_-])")
_STANDARD = str.maketrans("-_", "+/")

_HEX = "[0-9A-Fa-f]"
_AGAIN = "(?:25){0,3}"
_AMP = "(?:amp;){0,3}"
_PERCENT = (
    rf"%{_AGAIN}(?:[0-7]{_HEX}|[C-Fc-f]{_HEX}(?:%{_AGAIN}[89ABab]{_HEX}){{1,3}})"
    rf"|&{_AMP}(?:#[0-9]{{1,7}};?|#[xX]{_HEX}{{1,6}};?|[A-Za-z][A-Za-z0-9]{{1,24}};)"
    rf"|\\{{1,8}}(?:u[Dd][89ABab]{_HEX}{{2}}\\{{1,8}}u[Dd][C-Fc-f]{_HEX}{{2}}|u{_HEX}{{4}}"
    rf"|u\{{{_HEX}{{1,6}}\}}|x{_HEX}{{2}}|[nrt/\"])"
    r"|=\r?\n"
)
_DIGIT = (
    rf"%{_AGAIN}3[0-9]|&{_AMP}#(?:0{{0,4}}(?:4[89]|5[0-7])|[xX]0{{0,4}}3[0-9])"
    r"|\\(?:u003[0-9]|x3[0-9]|u\{0{0,4}3[0-9]\})"
)
ENCODED = (
    rf"[0-9][ .-]?(?:{_PERCENT}){{1,4}}[ .-]?[0-9]|(?:{_PERCENT})[0-9]{{3}}|{_DIGIT}"
    r"|[0-9]=(?:20|2D)[0-9]"
)
"""The prefilter: something encoded stands where it matters, next to digits or as one."""

_ENCODED = Pattern(ENCODED)
_TOKEN = re.compile(rf"{_PERCENT}|(?<=[0-9])=(?:20|2D)(?=[0-9])")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}


_SSN_WIDTHS: tuple[tuple[int, ...], ...] = ((3, 2, 4), (5, 4), (3, 6))
_CARD_WIDTHS: tuple[tuple[int, ...], ...] = ((4, 4, 4, 4), (8, 8), (4, 6, 5))


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived text and the spans of the texts that it was derived from."""

    text: str
    parts: tuple[tuple[int, int, int], ...]

    def spans(self, start: int, end: int) -> Sequence[tuple[int, int, int]]:
        """Return what ``start`` to ``end`` of the text was derived from: all of it."""
        return self.parts


@dataclass(frozen=True, slots=True)
class Decoded(Derived):
    """A text parts of which were decoded, each with its ends in this text and in the original."""

    begins: list[int]
    ends: list[int]
    originals: list[tuple[int, int]]

    def spans(self, start: int, end: int) -> Sequence[tuple[int, int, int]]:
        """Return what ``start`` to ``end`` of the text was decoded from."""
        return ((self.parts[0][0], self._original(start)[0], self._original(end - 1)[1]),)

    def _original(self, position: int) -> tuple[int, int]:
        """Return start and end of what the character at ``position`` was decoded from."""
        number = bisect_right(self.begins, position) - 1
        if number < 0:
            return position, position + 1
        if position < self.ends[number]:
            return self.originals[number]
        original = self.originals[number][1] + position - self.ends[number]
        return original, original + 1


class Locator:
    """Leads from the joined bytes back to the caller's own texts, also through derived ones."""

    __slots__ = ("_derived", "_doc")

    def __init__(self, doc: Document, derived: Sequence[Derived]) -> None:
        self._doc = doc
        self._derived = derived

    def indices(self, start: int) -> list[int]:
        """Return the numbers of the caller's own texts that a candidate lies in."""
        doc = self._doc
        index = doc.index_at(start)
        if index > doc.source_index:
            return [part[0] for part in self._derived[index - doc.source_index - 1].parts]
        return [index]

    def spans(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return the spans of the caller's own texts that a span of the joined bytes is of: the
        number of the text, start and end in code points."""
        doc = self._doc
        index = doc.index_at(start)
        first, last = doc.span(index, start, end)
        if index > doc.source_index:
            return list(self._derived[index - doc.source_index - 1].spans(first, last))
        return [(index, first, last)]


def decoded_texts(doc: Document) -> list[Decoded]:
    """Decode the texts of a document in which ENCODED occurs."""
    found: list[Decoded] = []
    raw, position = doc.raw, 0
    while (match := _ENCODED.find(raw, position, len(raw))) is not None:
        index = doc.index_at(match[0])
        if index > doc.source_index:
            break  # derived texts are not decoded once more
        found.append(_decode(doc.texts[index], index))
        position = doc.bounds(index)[1]
    return found


def _decode(text: str, index: int) -> Decoded:
    pieces: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    originals: list[tuple[int, int]] = []
    copied = size = 0
    for match in _TOKEN.finditer(text):
        first, last = match.span()
        size += first - copied
        meaning = _meaning(match.group())
        pieces += (text[copied:first], meaning)
        begins.append(size)
        size += len(meaning)
        ends.append(size)
        originals.append((first, last))
        copied = last
    pieces.append(text[copied:])
    return Decoded("".join(pieces), ((index, 0, len(text)),), begins, ends, originals)


def _meaning(token: str) -> str:
    kind = token[0]
    if kind == "%":
        return bytes(int(each[-2:], 16) for each in token[1:].split("%")).decode(errors="replace")
    if kind == "&":
        name = token[1:].rstrip(";")
        while name.startswith("amp;"):
            name = name[4:]
        return unescape(f"&{name};")
    if kind == "=":
        return {"=20": " ", "=2D": "-"}.get(token, "")
    escape = token.lstrip("\\")
    if escape[0] not in "ux":
        return _LETTERS.get(escape, escape)
    if "\\" in escape:  # a pair of surrogates
        high, low = int(escape[1:5], 16), int(escape[-4:], 16)
        return chr(0x10000 + (high - 0xD800 << 10) + low - 0xDC00)
    point = int(escape[1:].strip("{}"), 16)
    return chr(point) if point <= 0x10FFFF else "\ufffd"


def split_values(fields: Fields) -> list[Derived]:
    """Put together the lists of short strings and whole numbers that can be one value taken apart.

    A list of strings speaks for itself. Numbers are also counted, measured and charged: they need
    the groups of a card or a social security number, and stand in no table; where zeros were
    lost, a key must say what they are.
    """
    found: list[Derived] = []
    run: list[int] = []
    container = -1
    for index, (owner, token) in enumerate(fields.places):
        if isinstance(token, str):
            continue
        if owner != container:
            if len(run) > 1:
                _finish(fields, run, found)
            run, container = [], owner
        run.append(index)
    _finish(fields, run, found)
    return found


def _finish(fields: Fields, run: list[int], found: list[Derived]) -> None:
    parts = [fields.texts[index] for index in run]
    if not 7 <= len("".join(parts)) <= _LONGEST_WHOLE:
        return
    numeric = not fields.numbers.isdisjoint(run)
    if not may_be_one(parts, numeric=numeric):
        return
    container = fields.places[run[0]][0]
    joined = _whole_number(fields, container, parts) if numeric else _whole(parts)
    if joined is None and "".join(parts).isdecimal():
        joined = _padded(fields, container, parts)
    if joined is not None:
        found.append(Derived(joined, tuple((index, 0, len(fields.texts[index])) for index in run)))


def _whole(parts: list[str]) -> str | None:
    whole = "".join(parts)
    if not _SHORTEST_WHOLE <= len(whole) <= _LONGEST_WHOLE:
        return None
    if whole.isdecimal():
        return _grouped(parts)
    return whole if len(parts) == len(whole) else "-".join(parts)


def _grouped(parts: list[str]) -> str | None:
    """Return digits in the groups of a card or a social security number as one, else None."""
    whole = "".join(parts)
    lengths = [len(part) for part in parts]
    if len(whole) > _SHORTEST_WHOLE:
        return whole if is_card(fold(whole).encode()) and _card_groups(lengths) else None
    if lengths == [3, 2, 4]:
        return "-".join(parts)
    return whole if lengths == [1] * 9 else None


def _card_groups(lengths: list[int]) -> bool:
    """Tell whether lengths of digit groups are those of a card number taken apart."""
    return (
        set(lengths) in ({1}, {2})
        or (set(lengths[:-1]) == {4} and lengths[-1] <= 4 and len(lengths) >= 4)
        or lengths in ([4, 6, 5], [4, 6, 4], [8, 8])
    )


def _whole_number(fields: Fields, container: int, parts: list[str]) -> str | None:
    joined = _grouped(parts)
    if joined is None or _named(fields, container, CARD_WORDS, SSN_WORDS):
        return joined
    if isinstance(fields.containers[container][1], int) or counted([int(part) for part in parts]):
        return None  # a row of a table, or made by counting
    return None if _named(fields, container, QUANTITY_WORDS) else joined


def _padded(fields: Fields, container: int, parts: list[str]) -> str | None:
    """Return the number that parts without their leading zeros are of, where a key names it."""
    lengths = [len(part) for part in parts]

    def fits(widths: tuple[int, ...]) -> bool:
        return len(lengths) == len(widths) and all(map(int.__le__, lengths, widths))

    def filled(widths: tuple[int, ...]) -> str:
        return "".join(part.zfill(size) for part, size in zip(parts, widths, strict=True))

    if _named(fields, container, SSN_WORDS):
        for widths in _SSN_WIDTHS:
            if fits(widths) and plausible_ssn(fold(filled(widths)).encode()):
                return filled(widths)
    if _named(fields, container, CARD_WORDS):
        for widths in _CARD_WIDTHS:
            if fits(widths) and is_card(fold(filled(widths)).encode()):
                return filled(widths)
    return None


def _named(fields: Fields, container: int, *words: Words) -> bool:
    """Tell whether one of the three keys above a list's items says one of ``words``."""
    steps = 0
    while container != ROOT and steps < 3:
        container, token = fields.containers[container]
        if isinstance(token, str) and token:
            steps += 1
            if any(says(each, token) for each in words):
                return True
    return False


def base64_texts(fields: Fields, source: str) -> list[Derived]:
    """Decode the base64 words that hold readable text of at most 768 bytes."""
    found: list[Derived] = []
    for index, text in enumerate([*fields.texts, source]):
        if len(text) < 12:
            continue
        for match in _BASE64.finditer(text):
            word = match.group().rstrip("=").translate(_STANDARD)
            try:
                decoded = b64decode(word + "=" * (-len(word) % 4), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            if all(c.isprintable() or c in "\t\r\n" for c in decoded):
                found.append(Derived(decoded, ((index, match.start(), match.end()),)))
    return found
