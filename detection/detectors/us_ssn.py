"""Social security numbers of the USA."""

from __future__ import annotations

import re

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import (
    ALPHANUMERIC,
    DIGITS,
    IN_A_LIST,
    WRAPPED,
    clear,
    counted,
    digits_of,
    in_number,
    only_items,
    word_before,
)
from detection.findings import Confidence, Kind
from detection.three_two_four import LEFT, SSN_WORDS, first_digit, grouped, stands_apart
from detection.words import QUANTITY_WORDS

# Social Security Administration: no area 000, 666 or 9xx, no group 00 (serial 0000: see below).
_PARTS = (
    r"(?:00[1-9]|0[1-9][0-9]|[1-57-8][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])",
    r"(?:0[1-9]|[1-9][0-9])",
    r"[0-9]{4}",
)
# Three numbers of a table look the same; the number after them gives it away.
_SEPARATED = grouped(*_PARTS, r"(?:[ \t]?[^0-9 \t]|[ \t][^0-9])")
_IN_TABLE = grouped(*_PARTS)
_DASH = r"[ \t]?-[ \t]?"
_BROKEN_DASH = rf"(?:{WRAPPED})?{_DASH}(?:{WRAPPED})?"
_LISTED = "|".join(
    (
        *(rf"{LEFT}{joint.join(_PARTS)}" for joint in (IN_A_LIST, r"\+")),
        rf"{LEFT}{_BROKEN_DASH.join(_PARTS)}",
        rf"{LEFT}{WRAPPED.join(_PARTS)}",
        rf"{LEFT}{_PARTS[0]}[ -]{_PARTS[1]}{WRAPPED}{_PARTS[2]}",
        rf"{LEFT}{_PARTS[0]}{WRAPPED}{_PARTS[1]}[ -]{_PARTS[2]}",
    )
)
_WRAP = rf"(?:{_DASH})?{WRAPPED}(?:{_DASH}(?:{WRAPPED})?)?"
_LISTED_PREFILTER = (
    rf"[0-9]{{3}}(?:{IN_A_LIST}|\+|{_WRAP})"
    rf"[0-9]{{2}}(?:{IN_A_LIST}|\+|{_WRAP}|{_DASH}|[ ])[0-9]{{4}}"
    rf"|[0-9]{{3}}(?:{_DASH}|[ ])[0-9]{{2}}{_WRAP}[0-9]{{4}}"
)

# Printed in advertisements and on specimen cards; never a person's.
_SAMPLES = frozenset((b"078051120", b"219099999", b"457555462", b"111111111", b"333333333"))
_NUMBER = re.compile(rb"[0-9]+")
_ENDS_IN_A_NUMBER = re.compile(rb"[0-9][ \t]{0,2}\r?\n[ \t>*#|]{0,24}$")
_FOUR_DIGITS = re.compile(rb"(?:19[0-9]|20[0-2])[0-9]")


def plausible_ssn(digits: bytes) -> bool:
    """Tell whether nine ASCII digits can be a social security number."""
    area = digits[:3]
    return (
        area not in (b"000", b"666")
        and digits[0] != 0x39
        and digits[3:5] != b"00"
        and digits[5:] != b"0000"
        and digits not in _SAMPLES
        and len(set(digits)) > 1
    )


def separated(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a number written in groups of three, two and four."""
    raw = doc.raw
    start = first_digit(raw, start)
    while raw[end - 1] not in DIGITS:
        end -= 1
    if raw[end] in ALPHANUMERIC or not stands_apart(doc, start, end):
        return None
    if not plausible_ssn(digits_of(raw, start, end)):
        return None
    return Hit(start, end, Confidence.MEDIUM)


def listed(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a number whose groups are the items of a list, the terms of a sum, or parted by a line
    break."""
    raw = doc.raw
    start = first_digit(raw, start)
    if raw[end] in ALPHANUMERIC or not stands_apart(doc, start, end):
        return None
    if not plausible_ssn(digits_of(raw, start, end)):
        return None
    if not doc.near(SSN_WORDS, start, end):
        value = raw[start:end]
        if b"\n" in value and b"-" not in value and b"," not in value:
            return None  # numbers at the ends of lines
        if _FOUR_DIGITS.fullmatch(value[-4:]) and _ENDS_IN_A_NUMBER.search(value[:-4]):
            return None  # a line that starts with a year
        if not only_items(raw, start, end) or doc.before(QUANTITY_WORDS, start):
            return None
        if counted([int(group) for group in _NUMBER.findall(value)]):
            return None
    return Hit(start, end, Confidence.LOW)


def bare(doc: Document, start: int, end: int) -> Hit | None:
    """Judge nine digits in a row; a JSON number has lost its leading zeros."""
    raw = doc.raw
    if not clear(raw, start, end) and word_before(raw, start) != b"ssn":
        return None
    digits = raw[start:end]
    if len(digits) < 9:
        index = doc.index_at(start)
        if (start, end) != doc.bounds(index) or index not in doc.fields.numbers:
            return None
        if not doc.named(SSN_WORDS, index):
            return None
        digits = digits.rjust(9, b"0")
    elif in_number(raw, start, end) or not doc.near(SSN_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.LOW) if plausible_ssn(digits) else None


DETECTOR = Detector(
    "us_ssn",
    Kind.PII,
    (
        Rule(
            _SEPARATED, separated, prefilter=r"[0-9]{3}[ \t./_-]{1,3}[0-9]{2}[ \t./_-]{1,3}[0-9]{4}"
        ),
        Rule(_IN_TABLE, separated, prefilter=SSN_WORDS.source),
        Rule("[0-9]{7,9}", bare, prefilter=SSN_WORDS.source),
        Rule(_LISTED, listed, prefilter=_LISTED_PREFILTER),
    ),
    words=(SSN_WORDS,),
    hits=(
        "It is 123-45-6789.",
        "123 45 6789",
        "my social security number: 536225587",
        "[536, 22, 5587]",
        "536-22-\n5587",
        "536 -\n22 -\n5587",
    ),
    misses=("078-05-1120", "900-12-3456", "123-45-0000", "536225587", "1-123-45-6789"),
)
