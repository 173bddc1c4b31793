"""Texts that nobody wrote as such but that a reader would put together: split and encoded values.

Covered: a list of strings that together are one value of 9 to 34 characters (``["4111", "1111",
"1111", "1111"]``, ``["123", "45", "6789"]``, single characters), and, where the policy asks for
it, base64 of a short text. Not covered: parts in different members of an object, parts that are
JSON numbers, parts with other items between them, encodings within encodings.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass

from ingest_service.detection.cards import is_card
from ingest_service.detection.normalize import fold
from ingest_service.fields import Fields

_LONGEST_PART = 8
_SHORTEST_WHOLE = 9
_LONGEST_WHOLE = 34
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,1024}={0,2}(?![A-Za-z0-9+/=_-])")
_STANDARD = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived text and the spans of the texts that it was derived from."""

    text: str
    parts: tuple[tuple[int, int, int], ...]


def split_values(fields: Fields) -> list[Derived]:
    """Put together the lists of short strings that can be one value taken apart."""
    found: list[Derived] = []
    run: list[int] = []
    container = -1
    texts, numbers = fields.texts, fields.numbers
    for index, (owner, token) in enumerate(fields.places):
        if isinstance(token, str):
            continue
        if owner != container:
            _finish(fields, run, found)
            run, container = [], owner
        if index in numbers or not 0 < len(texts[index]) <= _LONGEST_PART:
            container = -2 - owner  # this list holds something else; skip the rest of it
            run = []
        elif container == owner:
            run.append(index)
    _finish(fields, run, found)
    return found


def _finish(fields: Fields, run: list[int], found: list[Derived]) -> None:
    if not 2 <= len(run) <= _LONGEST_WHOLE:
        return
    parts = [fields.texts[index] for index in run]
    whole = "".join(parts)
    if not _SHORTEST_WHOLE <= len(whole) <= _LONGEST_WHOLE:
        return
    if whole.isdecimal():
        lengths = [len(part) for part in parts]
        if len(whole) > _SHORTEST_WHOLE:
            if not is_card(fold(whole).encode()) or not _grouped(lengths):
                return
        elif lengths != [3, 2, 4] and lengths != [1] * 9:
            return
    elif not any(map(str.isdigit, whole)):
        return
    joined = whole if len(run) == len(whole) else "-".join(parts)
    found.append(Derived(joined, tuple((index, 0, len(fields.texts[index])) for index in run)))


def _grouped(lengths: list[int]) -> bool:
    """Tell whether lengths of digit groups are those of a card number taken apart."""
    return (
        set(lengths) == {1}
        or (set(lengths[:-1]) == {4} and lengths[-1] <= 4 and len(lengths) >= 4)
        or lengths in ([4, 6, 5], [4, 6, 4])
    )


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
