"""Payment card numbers, in the ways of grouping them, and the codes that belong to them."""

from __future__ import annotations

import re
from itertools import pairwise

from detection.card_numbers import is_card
from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import (
    ALPHANUMERIC,
    DIGITS,
    IN_A_LIST,
    WRAPPED,
    clear_before,
    counted,
    digits_of,
    only_items,
    word_before,
)
from detection.engine import Pattern
from detection.fields import ROOT
from detection.findings import Confidence, Kind
from detection.words import QUANTITY_WORDS, Words

CARD_WORDS = Words(
    "card", "cards", "card number", "cc", "ccn", "cc num", "cc number", "credit", "debit", "visa",
    "mastercard", "amex", "american express", "discover", "diners", "jcb", "maestro", "unionpay",
    "pan", "primary account number", "tarjeta", "carte", "carte bancaire", "karte", "kreditkarte",
    "kartennummer", "carta", "cartao", "creditcard", "payment", "カード", "信用卡", "卡号", "карта",
)  # fmt: skip
# They say that a number is something else, standing right before it.
NOT_A_CARD = Words(
    "imei", "isbn", "ean", "gtin", "upc", "barcode", "tracking", "awb", "iccid", "meid", "imsi",
    "timestamp", "epoch", "nonce", "snowflake", "tweet", "serial", "sku",
)  # fmt: skip
CARD_CODE_WORDS = Words(
    "cvv", "cvv2", "cvc", "cvc2", "cav", "csc", "cid", "security code", "card code",
    "verification value", "card verification", "exp",
    "expiry", "expires", "expiration", "exp date", "exp month", "exp year", "expiry date",
    "expiry month", "expiry year", "expiration date", "expiration month", "expiration year",
    "valid thru", "valid until", "valid to", "good thru",
)  # fmt: skip

_SEPARATOR = r"[ \t._/-]{1,3}"

_CONTIGUOUS = (
    r"(?:\b|[A-Za-z_])(?:(?:5018|5020|5038|5893|6304|6390|6759|676[123])[0-9]{8,15}"
    r"|(?:4|5[0-8]|6[02-57]|2[2-7]|3[0-9]|8[12])[0-9]{11,18}|(?:1800|2131)[0-9]{11}|9792[0-9]{12})"
)
# At most 28 groups of a longer run at once: a run is gone through a few times for each card in it.
_FOURS = (
    rf"([0-9]{{4}}(?:{_SEPARATOR}[0-9]{{4}}){{27}}){_SEPARATOR}[0-9]{{4}}"
    rf"|[0-9]{{4}}(?:{_SEPARATOR}[0-9]{{4}}){{2,27}}(?:{_SEPARATOR}[0-9]{{1,3}}\b)?"
)
_LISTED = "|".join(
    rf"[0-9]{{4}}{joint}[0-9]{{4}}{joint}[0-9]{{4}}{joint}[0-9]{{4}}(?:{joint}[0-9]{{1,3}}\b)?"
    rf"|3[0-9]{{3}}{joint}[0-9]{{6}}{joint}[0-9]{{4,5}}|[0-9]{{8}}{joint}[0-9]{{8}}"
    rf"|[2-689](?:{joint}[0-9]){{12,18}}\b"
    for joint in (IN_A_LIST, r"\+")
)
_WRAP = rf"-?{WRAPPED}-?"
_BROKEN = (
    rf"\b[2-9][0-9]{{2,18}}(?:[ -][0-9]{{2,6}}){{0,3}}{_WRAP}"
    r"[0-9]{1,16}(?:[ -][0-9]{2,6}){0,3}\b"
)
_OTHER_GROUPS = "|".join(
    (
        rf"3[0-9]{{3}}{_SEPARATOR}[0-9]{{6}}{_SEPARATOR}[0-9]{{4,5}}",  # Amex, Diners
        rf"3[47][0-9]{{2}}{_SEPARATOR}[0-9]{{5}}{_SEPARATOR}[0-9]{{6}}",
        r"[56][0-9]{5}[ -][0-9]{10,13}",  # issuer, then account
        rf"[2-689][0-9](?:{_SEPARATOR}[0-9]{{2}}){{7}}",
        rf"[2-689](?:{_SEPARATOR}[0-9]){{12,18}}",
    )
)
# What these have in common is rarer in ordinary text than how they begin.
_FOURS_PREFILTER = rf"[0-9]{{4}}{_SEPARATOR}[0-9]{{4}}{_SEPARATOR}[0-9]{{4}}"
_GROUPS_PREFILTER = (
    rf"[0-9]{{4}}{_SEPARATOR}[0-9]{{5}}|[0-9]{{6}}{_SEPARATOR}[0-9]{{8}}"
    rf"|[0-9]{{2}}{_SEPARATOR}[0-9]{{2}}{_SEPARATOR}[0-9]{{2}}{_SEPARATOR}[0-9]{{2}}{_SEPARATOR}[0-9]{{2}}"
    rf"|(?:\b|_)(?:[0-9]{_SEPARATOR}){{5}}[0-9](?:\b|_)"
)
_LISTED_PREFILTER = "|".join(
    rf"[0-9]{joint}[0-9]{{4}}|\b[0-9]{joint}[0-9]{joint}[0-9]{joint}[0-9]{joint}[0-9]\b"
    for joint in (IN_A_LIST, r"\+")
)
_BROKEN_PREFILTER = rf"[0-9]{{2}}{_WRAP}[0-9]"

_BREAK = re.compile(rb"[^0-9]{0,8}\n[^0-9]{0,32}")
_DAY = re.compile(rb"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])")
_MORE_FOURS = Pattern(rf"(?:{_SEPARATOR}[0-9]{{4}}){{1,4}}(?:{_SEPARATOR}[0-9]{{1,3}}\b)?")
_LONG_ROW = 140
_JOINT = re.compile(rb"[^0-9]+")
_DAY_OF_EXPIRY = (
    r"(?:[0-9]{1,2} ?[/.-] ?(?:20)?[0-9]{2}|20[0-9]{2}[/-][0-9]{2}|(?:0[1-9]|1[0-2])[2-9][0-9])\b"
)
_CODE_OR_EXPIRY = Pattern(
    r"(?i:cvv|cvc|cav|csc|cid|\bcode|security[ _-]?code|card[ _-]?code|verification[ _-]?value)2?"
    r"(?i:[ _-]?(?:code|number|no|is))?[^0-9A-Za-z]{0,6}([0-9]{3,4})\b"
    r"|(?i:exp|expiry|expires|expiration|valid|good)(?i:[ _-]?(?:date|thru|through|until|to|on))?"
    rf"[^0-9A-Za-z]{{0,6}}({_DAY_OF_EXPIRY})"
    r"|\b((?:0[1-9]|1[0-2]) ?[/-] ?(?:20)?[2-9][0-9](?:[ ,;|/]{1,3}[0-9]{3,4})?)\b"
    r"|\|([0-9]{1,2}\|(?:20)?[0-9]{2}(?:\|[0-9]{3,4})?)\b"
)
# A code right after a card number, and what an item of a list is that is nothing else.
_CODE_AFTER = Pattern(r"[ \t]{0,2}[,;|\t][ \t]{0,2}[0-9]{3,4}\b")
_ITEM = Pattern(rf"[0-9]{{3,4}}|{_DAY_OF_EXPIRY}")
# How far from a card number they stand in a text.
_BESIDE = 96

_IBAN_HEAD = re.compile(rb"(?i)[A-Z]{2}[0-9]{2}[ .-]")
_HEX_GROUP = re.compile(rb"[0-9A-F]{4}|[0-9a-f]{4}")
_RUN = re.compile(rb"[0-9]+")
_LABELS = frozenset((b"pan", b"card", b"cc", b"ccn", b"visa", b"mastercard", b"amex", b"mc"))
_WORDS_AFTER = (b"exp", b"cvv", b"cvc", b"valid")
_YEAR = re.compile(rb"20[2-4][0-9]")


def contiguous(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an unbroken run of 12 to 19 digits."""
    raw = doc.raw
    if raw[start] not in DIGITS:
        start += 1
    digits = raw[start:end]
    if not is_card(digits) or not _stands_alone(raw, start, end):
        return None
    # A part of a decimal number or of a dotted or dashed chain of numbers.
    if raw[start - 1] in b".-+" and raw[start - 2] in DIGITS:
        return None
    if raw[end] == 0x2E and raw[end + 1] in DIGITS:
        return None
    if _called_otherwise(doc, start) and not doc.near(CARD_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.HIGH)


def grouped(doc: Document, start: int, end: int) -> Hit | None:
    """Judge digits in one of the groupings of _OTHER_GROUPS."""
    raw = doc.raw
    digits = digits_of(raw, start, end)
    if not is_card(digits) or not _stands_alone(raw, start, end) or _continues(raw, start, end):
        return None
    return Hit(start, end, Confidence.HIGH)


def fours(doc: Document, start: int, end: int) -> Hit | None:
    """Look for a card number in a run of groups of four digits.

    A run can be longer than a card: a card and a year, two cards, or a table of numbers. Looked
    at are every fourth group counted from either end of the run, and groups where the separator
    changes; inside a uniform table nothing else is, or every table would hold cards. A row of a
    table, set apart by blanks and not as long as one or two cards, needs a word as well.
    """
    raw = doc.raw
    digits = digits_of(raw, start, end)
    if len(digits) == 4 * 28:  # and what a card at the end of the run may have beyond them
        end = _MORE_FOURS.begins(raw, end, min(end + 32, len(raw))) or end
        digits = digits_of(raw, start, end)
    count, tail = divmod(len(digits), 4)
    joints = _JOINT.findall(raw[start:end])
    uniform = len(set(joints)) == 1
    if (
        uniform
        and joints[0].isspace()
        and (count not in (3, 4, 5, 8) or _in_long_row(raw, start))
        and not doc.near(CARD_WORDS, start, start)
    ):
        return None
    firsts = set(range(0, count - 2, 4)) | set(range(count % 4, count - 2, 4))
    if not uniform:
        firsts.update(
            first
            for first in range(1, count - 3)
            if joints[first] == joints[first + 1] == joints[first + 2] != joints[first - 1]
        )
    groups = [(m.start() + start, m.end() + start) for m in _RUN.finditer(raw[start:end])]
    for first in sorted(firsts):
        at = first * 4
        size = 0
        if (tail or count == 3) and first + 4 >= count and is_card(digits[at:]):
            size = len(digits) - at
        elif first + 4 <= count and is_card(digits[at : at + 16]):
            size = 16
        if not size:
            continue
        inner = set(joints[first : first + (size - 1) // 4])
        if inner == {b".", b" "}:
            continue  # decimal numbers side by side
        card_start, card_end = groups[first][0], groups[first + (size - 1) // 4][1]
        if not _stands_alone(raw, card_start, card_end):
            continue
        if first == 0 and raw[start - 1] in b".-" and raw[start - 2] in DIGITS:
            continue  # a longer chain, such as 12.4111.1111.1111.1111
        if _in_hex_table(raw, card_start, card_end, digits[at : at + size]):
            continue
        if first == 0 and _IBAN_HEAD.match(raw, start - 5):
            continue  # the rest of an IBAN, a wrong one
        return Hit(card_start, card_end, Confidence.HIGH)
    return None


def listed(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a card number whose groups are the items of a list or the terms of a sum."""
    raw = doc.raw
    digits = digits_of(raw, start, end)
    if not is_card(digits) or not _stands_alone(raw, start, end):
        return None
    if not doc.near(CARD_WORDS, start, end):
        if not only_items(raw, start, end) or doc.before(QUANTITY_WORDS, start):
            return None
        if counted([int(group) for group in _RUN.findall(raw[start:end])]):
            return None
    return Hit(start, end, Confidence.MEDIUM)


def broken(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a card number that goes on in the next line."""
    raw = doc.raw
    digits = digits_of(raw, start, end)
    if not is_card(digits) or not _stands_alone(raw, start, end) or _continues(raw, start, end):
        return None
    above, below = _BREAK.split(raw[start:end], maxsplit=1)
    groups = [*_RUN.findall(above), *_RUN.findall(below)]
    middle = above.count(b" ") + above.count(b"-")
    joined = [*groups[:middle], groups[middle] + groups[middle + 1], *groups[middle + 2 :]]
    if not any(_usual_lengths([len(group) for group in each]) for each in (groups, joined)):
        return None
    if len(joined) == 1 and not doc.near(CARD_WORDS, start, end):
        # Two numbers, one to a line, may be anything: the end of a line and the day of the next.
        if len(digits) != 16 or _DAY.match(below) or not only_items(raw, start, end):
            return None
        if counted([int(above), int(below)]):
            return None
    return Hit(start, end, Confidence.MEDIUM)


def _usual_lengths(lengths: list[int]) -> bool:
    """Tell whether card numbers are written in groups of these lengths."""
    return (
        len(lengths) == 1
        or lengths in ([4, 6, 5], [4, 6, 4], [8, 8])
        or (set(lengths[:-1]) == {4} and lengths[-1] <= 4 and len(lengths) > 3)
    )


def _in_long_row(raw: bytes, start: int) -> bool:
    """Tell whether nothing but digits and blanks stands before, for as long as a run is cut at."""
    return start > _LONG_ROW and not raw[start - _LONG_ROW : start].strip(b"0123456789 \t")


def _stands_alone(raw: bytes, start: int, end: int) -> bool:
    if not clear_before(raw, start) and word_before(raw, start) not in _LABELS:
        return False
    after = raw[end]
    return after not in ALPHANUMERIC or raw[end : end + 5].lower().startswith(_WORDS_AFTER)


def _continues(raw: bytes, start: int, end: int) -> bool:
    """Tell whether the same separator leads on to more digits, on either side."""
    separators = b" \t._/-"
    inner = next(byte for byte in raw[start:end] if byte not in DIGITS)
    if inner not in separators:
        return False
    return (raw[start - 1] == inner and raw[start - 2] in DIGITS) or (
        raw[end] == inner
        and raw[end + 1] in DIGITS
        and raw[end + 2] in DIGITS
        and raw[end + 3] in DIGITS
        and not _YEAR.match(raw, end + 1)
        and raw[end + 4] in DIGITS
    )


def _in_hex_table(raw: bytes, start: int, end: int, digits: bytes) -> bool:
    """Tell whether groups of four are code points or the like: they count up, or a neighbour of
    the same size has letters of hexadecimal."""
    groups = [int(digits[n : n + 4]) for n in range(0, len(digits), 4)]
    if all(b - a == 1 for a, b in pairwise(groups)):
        return True
    before = raw[max(0, start - 5) : start - 1] if raw[start - 1] in b" \t" else b""
    after = raw[end + 1 : end + 5] if raw[end] in b" \t" else b""
    return any(
        _HEX_GROUP.fullmatch(group) is not None and not group.isdigit() for group in (before, after)
    )


def _called_otherwise(doc: Document, start: int) -> bool:
    """Tell whether a word or a key before a number says that it is no card."""
    return doc.before(NOT_A_CARD, start) or doc.named(NOT_A_CARD, doc.index_at(start))


def codes_near(doc: Document, start: int, end: int) -> list[tuple[int, int]]:
    """Return where the security code and the expiry stand that belong to a card number, before and
    after it in its own text.

    They are no findings of their own; whoever hides the card hides them too.
    """
    first, last = doc.bounds(doc.index_at(start))
    after = _CODE_AFTER.begins(doc.raw, end, last)
    spans = [(end, after)] if after else []
    for low, high in ((max(first, start - _BESIDE), start), (end, min(last, end + _BESIDE))):
        position = low
        while (match := _CODE_OR_EXPIRY.find(doc.raw, position, high)) is not None:
            spans.append((match[0], match[1]))
            position = match[2]
    return spans


def codes_beside(doc: Document, found: list[tuple[int, int]], refused: bool) -> list[int]:
    """Return the numbers of the values that are security codes and expiries of cards: by their keys
    in the object of a card, or anywhere in a refused submission, and by their shape in its list."""
    fields = doc.fields
    cards = {doc.index_at(start) for start, _ in found}
    objects = {doc.object_of(index) for index in cards} - {ROOT}
    places = [fields.places[index] for index in cards if index < len(fields.texts)]
    lists = {owner for owner, token in places if isinstance(token, int)}
    items = [index for index, (owner, _) in enumerate(fields.places) if owner in lists]
    return doc.members_named(CARD_CODE_WORDS, None if refused else objects) + [
        index for index in items if _ITEM.fills(doc.raw[slice(*doc.bounds(index))])
    ]


DETECTOR = Detector(
    "payment_card",
    Kind.PII,
    (
        Rule(_CONTIGUOUS, contiguous, prefilter="[0-9]{12}"),
        Rule(_FOURS, fours, prefilter=_FOURS_PREFILTER),
        Rule(_OTHER_GROUPS, grouped, prefilter=_GROUPS_PREFILTER),
        Rule(_LISTED, listed, prefilter=_LISTED_PREFILTER),
        Rule(_BROKEN, broken, prefilter=_BROKEN_PREFILTER),
    ),
    words=(CARD_WORDS, NOT_A_CARD),
    spans_beside=codes_near,
    texts_beside=codes_beside,
    hits=(
        "paid with 4539148803436467",
        "4539-1488-0343-6467",
        "3782 822463 10005",
        "4 5 3 9 1 4 8 8 0 3 4 3 6 4 6 7",
        "[4539, 1488, 3343, 6461]",
        "4539 1488\n3343 6461",
    ),
    misses=("4539148803436468", "0.4539148803436467", "imei 378282246310005", "4111+1111=5222"),
)
