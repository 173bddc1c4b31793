"""Numbers that states and banks give to people: SSN, ITIN, routing numbers, passports, licences,
and the date a person was born."""

from __future__ import annotations

import re

from detection import context
from detection.document import Document
from detection.edges import (
    ALPHANUMERIC,
    DIGITS,
    IN_A_LIST,
    LETTERS,
    WRAPPED,
    clear,
    clear_before,
    counted,
    digits_of,
    only_items,
    word_before,
)
from detection.findings import Confidence
from detection.hit import Hit
from detection.normalize import fold

# Two joints are of one kind, or differ with a dash among them: of a price and a count
# (``123.45 6789``) they differ without one.
_DASH = r"[ \t]?-[ \t]?"
_JOINT = r"(?:[ \t]?[./_-][ \t]?|[ \t]{1,2})"
_LEFT = r"(?:\b|_|\\[nrt]|(?i:ssn|itin))"


def _grouped(first: str, second: str, third: str, after_blanks: str = "") -> str:
    alike = [rf"{first}{joint}{second}{joint}{third}" for joint in (r"\.", "/", "_")]
    dashed = (
        rf"{first}{_DASH}{second}{_JOINT}{third}",
        rf"{first}{_JOINT}{second}{_DASH}{third}",
    )
    blanks = r"[ \t]{1,2}"
    apart = f"{first}{blanks}{second}{blanks}{third}{after_blanks}"
    return f"{_LEFT}(?:{'|'.join((*dashed, *alike, apart))})"


# Social Security Administration: no area 000, 666 or 9xx, no group 00 (serial 0000: see below).
_SSN_PARTS = (
    r"(?:00[1-9]|0[1-9][0-9]|[1-57-8][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])",
    r"(?:0[1-9]|[1-9][0-9])",
    r"[0-9]{4}",
)
# Three numbers of a table look the same; the number after them gives it away.
SSN = _grouped(*_SSN_PARTS, r"(?:[ \t]?[^0-9 \t]|[ \t][^0-9])")
SSN_IN_TABLE = _grouped(*_SSN_PARTS)
_BROKEN_DASH = rf"(?:{WRAPPED})?[ \t]?-[ \t]?(?:{WRAPPED})?"
SSN_LISTED = "|".join(
    (
        *(rf"{_LEFT}{joint.join(_SSN_PARTS)}" for joint in (IN_A_LIST, r"\+")),
        rf"{_LEFT}{_BROKEN_DASH.join(_SSN_PARTS)}",
        rf"{_LEFT}{WRAPPED.join(_SSN_PARTS)}",
        rf"{_LEFT}{_SSN_PARTS[0]}[ -]{_SSN_PARTS[1]}{WRAPPED}{_SSN_PARTS[2]}",
        rf"{_LEFT}{_SSN_PARTS[0]}{WRAPPED}{_SSN_PARTS[1]}[ -]{_SSN_PARTS[2]}",
    )
)
_SSN_JOINT = rf"(?:{IN_A_LIST}|\+|-?{WRAPPED}-?|[ -])"
SSN_LISTED_GATE = (
    rf"[0-9]{{3}}(?:{IN_A_LIST}|\+|-?{WRAPPED}-?)[0-9]{{2}}{_SSN_JOINT}[0-9]{{4}}"
    rf"|[0-9]{{3}}[ -][0-9]{{2}}-?{WRAPPED}-?[0-9]{{4}}"
)
NINE_DIGITS = r"\b[0-9]{9}\b|_[0-9]{9}\b"
SSN_NUMBER = r"[0-9]{7,9}"
ITIN = _grouped("9[0-9]{2}", "[5-9][0-9]", "[0-9]{4}") + r"|\b9[0-9]{8}\b"

# Printed in advertisements and on specimen cards; never a person's.
_SAMPLE_SSNS = frozenset((b"078051120", b"219099999", b"457555462", b"111111111", b"333333333"))
_ITIN_GROUPS = frozenset((*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)))
_ROUTING_PREFIXES = frozenset((*range(13), *range(21, 33), *range(61, 73), 80))

PASSPORT = (
    r"\b(?:[0-9]{2} [0-9]{2} [0-9]{6}|[A-Za-z]{1,3}[ -][0-9]{6,8}"
    r"|[A-Za-z]{0,3}[0-9][A-Za-z0-9]{4,8})\b"
)
LICENCE = r"\b[A-Za-z]{0,6}-?[0-9](?:[ *-]?[A-Za-z0-9]){3,20}\b"

_MONTHS = (
    r"(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez|ene|abr|ago|set|dic|gen|"
    r"mag|giu|lug|ott|janv|fev|avr|juin|juil|aout|out|maj|mei|kwi|lip|paz|gru|lut|cze|sie|wrz|lis|"
    r"янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек)"
)
_LETTER = r"[a-zа-я]"
_YEAR = "(?:19[0-9]|20[0-2])[0-9]"
_MONTH = rf"{_MONTHS}{_LETTER}{{0,9}}"
DATE = fold(
    rf"\b(?:{_YEAR}[./-][0-9]{{1,2}}[./-][0-9]{{1,2}}"
    rf"|[0-9]{{1,2}}[./-][0-9]{{1,2}}[./-](?:{_YEAR}|[0-9]{{2}})"
    rf"|[0-9]{{1,2}}\. ?[0-9]{{1,2}}\. ?{_YEAR}"
    rf"|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?i:[0-9]{1,2}(?:st|nd|rd|th|er|º|o)?\.?(?: de| of)?[ -]"
    rf"{_MONTH}[.,]?(?: de| del| do)?[ -]{_YEAR})"
    rf"|(?i:{_MONTH}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? {_YEAR})"
    rf"|(?i:{_YEAR}[ -]{_MONTH}[ -][0-9]{{1,2}})"
    rf"|{_YEAR} ?年 ?[0-9]{{1,2}} ?月 ?[0-9]{{1,2}}"
    rf"|{_YEAR} ?년 ?[0-9]{{1,2}} ?월 ?[0-9]{{1,2}})"
)

_BLANKS = frozenset(b" \t")
_CHAINS = frozenset(b"-./_")
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
        and digits not in _SAMPLE_SSNS
        and len(set(digits)) > 1
    )


def plausible_itin(digits: bytes) -> bool:
    """Tell whether nine ASCII digits can be an individual taxpayer identification number."""
    return (
        digits[0] == 0x39
        and int(digits[3:5]) in _ITIN_GROUPS
        and len(set(digits)) > 1
        and not digits.startswith(b"98765432")  # printed in advertisements
    )


def valid_routing(digits: bytes) -> bool:
    """Tell whether nine ASCII digits pass the ABA checksum and name a Federal Reserve district."""
    d = [byte - 48 for byte in digits]
    total = 3 * (d[0] + d[3] + d[6]) + 7 * (d[1] + d[4] + d[7]) + d[2] + d[5] + d[8]
    return total % 10 == 0 and int(digits[:2]) in _ROUTING_PREFIXES and total > 0


def separated_ssn(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a number written in groups of three, two and four."""
    raw = doc.raw
    start = _first_digit(raw, start)
    while raw[end - 1] not in DIGITS:
        end -= 1
    if raw[end] in ALPHANUMERIC or not _apart(doc, start, end):
        return None
    if not plausible_ssn(digits_of(raw, start, end)):
        return None
    return start, end, Confidence.MEDIUM


def listed_ssn(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a number whose groups are the items of a list, the terms of a sum, or parted by a line
    break."""
    raw = doc.raw
    start = _first_digit(raw, start)
    if raw[end] in ALPHANUMERIC or not _apart(doc, start, end):
        return None
    if not plausible_ssn(digits_of(raw, start, end)):
        return None
    if not doc.near(context.SSN, start, end):
        value = raw[start:end]
        if b"\n" in value and b"-" not in value and b"," not in value:
            return None  # numbers at the ends of lines
        if _FOUR_DIGITS.fullmatch(value[-4:]) and _ENDS_IN_A_NUMBER.search(value[:-4]):
            return None  # a line that starts with a year
        if not only_items(raw, start, end) or doc.before(context.QUANTITY, start):
            return None
        if counted([int(group) for group in _NUMBER.findall(value)]):
            return None
    return start, end, Confidence.LOW


def bare_ssn(doc: Document, start: int, end: int) -> Hit | None:
    """Judge nine digits in a row; a JSON number has lost its leading zeros."""
    raw = doc.raw
    if not clear(raw, start, end) and word_before(raw, start) != b"ssn":
        return None
    digits = raw[start:end]
    if len(digits) < 9:
        index = doc.index_at(start)
        if (start, end) != doc.bounds(index) or index not in doc.fields.numbers:
            return None
        if not doc.named(context.SSN, index):
            return None
        digits = digits.rjust(9, b"0")
    elif _in_number(raw, start, end) or not doc.near(context.SSN, start, end):
        return None
    return (start, end, Confidence.LOW) if plausible_ssn(digits) else None


def itin(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an individual taxpayer number; context is asked for: 9xx is also many other things."""
    raw = doc.raw
    start = _first_digit(raw, start)
    if raw[end] in ALPHANUMERIC or not _apart(doc, start, end):
        return None
    digits = digits_of(raw, start, end)
    if not plausible_itin(digits) or not doc.near(context.TAXPAYER, start, end):
        return None
    return start, end, Confidence.MEDIUM if end - start > 9 else Confidence.LOW


def routing(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a US bank routing number."""
    raw = doc.raw
    if raw[start] == 0x5F:
        start += 1
    if _in_number(raw, start, end) or not valid_routing(raw[start:end]):
        return None
    return (start, end, Confidence.HIGH) if doc.near(context.ROUTING, start, end) else None


def passport(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a passport number by the words round it."""
    raw = doc.raw
    value = raw[start:end]
    digits = len(digits_of(raw, start, end))
    if digits < 6 and (digits < 4 or not value.isupper()):
        return None
    if _in_number(raw, start, end) or not doc.near(context.PASSPORT, start, end):
        return None
    return start, end, Confidence.LOW


def licence(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a driving licence number by the words round it; it has at least four digits."""
    raw = doc.raw
    # The pattern joins words by blanks: keep the part from the first group with a digit on.
    groups = [(m.start() + start, m.end() + start) for m in _GROUP.finditer(raw[start:end])]
    numbered = [any(byte in DIGITS for byte in raw[s:e]) for s, e in groups]
    if True not in numbered:
        return None
    first = numbered.index(True)
    last = first
    while last + 1 < len(groups) and numbered[last + 1]:
        last += 1
    if (
        first
        and groups[first - 1][1] - groups[first - 1][0] <= 2
        and raw[groups[first][0] - 1] != 0x20
    ):
        first -= 1
    start, end = groups[first][0], groups[last][1]
    value = raw[start:end]
    digits = len(digits_of(raw, start, end))
    if digits < 4 or end - start > 24 or end - start < 5 or _FOUR_DIGITS.fullmatch(value):
        return None
    if _in_number(raw, start, end):
        return None
    if not (
        doc.before(context.LICENCE, start + 1) or doc.named(context.LICENCE, doc.index_at(start))
    ):
        return None
    return start, end, Confidence.LOW


_GROUP = re.compile(rb"[A-Za-z0-9*]+")


def birth_date(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a date by the words round it: a possible day of a living person's birth."""
    raw = doc.raw
    if raw[end] in DIGITS or (raw[end] in LETTERS and raw[end] not in b"T"):
        return None
    if not _can_be_born(raw[start:end]) or not doc.near(context.BIRTH, start, end):
        return None
    return start, end, Confidence.LOW


def _can_be_born(text: bytes) -> bool:
    """Tell whether the numbers of a date can be a day, a month and a year."""
    numbers = [int(n) for n in _NUMBER.findall(text)]
    if len(numbers) == 1:
        return True  # yyyymmdd, held to by the pattern
    return sum(n > 31 for n in numbers) <= 1 and 0 not in numbers[:2]


def _apart(doc: Document, start: int, end: int) -> bool:
    """Tell whether a grouped number is no part of a longer chain of groups."""
    raw = doc.raw
    before, after = raw[start - 1], raw[end]
    if raw[start + 3] in _BLANKS and (
        (before in _BLANKS and raw[start - 2] in DIGITS)
        or (after in _BLANKS and raw[end + 1] in DIGITS)
    ):
        # Three numbers of a table look the same; its neighbours give it away.
        return doc.near(context.SSN, start, end)
    if (
        before in ALPHANUMERIC
        and not clear_before(raw, start)
        and word_before(raw, start) not in (b"ssn", b"itin", b"ss")
    ):
        return False
    if before in _CHAINS and (raw[start - 2] in DIGITS or _hex_group(raw, start - 1)):
        return False
    if after in _CHAINS:
        beyond = raw[end + 1]
        if beyond in DIGITS or (after in b"-_" and beyond in ALPHANUMERIC):
            return False
    return True


def _first_digit(raw: bytes, start: int) -> int:
    while raw[start] not in DIGITS:
        start += 1
    return start


def _hex_group(raw: bytes, end: int) -> bool:
    """Tell whether the group of letters and digits that ends at ``end`` holds a digit."""
    first = end
    while raw[first - 1] in ALPHANUMERIC and end - first < 40:
        first -= 1
    return any(byte in DIGITS for byte in raw[first:end])


def _in_number(raw: bytes, start: int, end: int) -> bool:
    """Tell whether a run of digits is a part of a decimal or a dotted or dashed chain."""
    return (raw[start - 1] in b".-" and raw[start - 2] in DIGITS) or (
        raw[end] in b".-" and raw[end + 1] in DIGITS
    )
