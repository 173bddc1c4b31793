"""Telephone numbers: international, North American, and separated national notations.

Bare digits are a phone number only where a word or key says so.
"""

from __future__ import annotations

import re
from itertools import pairwise

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, LETTERS, digits_of, word_before
from detection.engine import Pattern
from detection.findings import Confidence, Kind
from detection.words import Words

PHONE_WORDS = Words(
    "phone", "phones", "telephone", "tel", "mobile", "cell", "cellphone", "cellular", "fax", "call",
    "dial", "whatsapp", "sms", "text me", "ring me", "reach me", "hotline", "landline", "handset",
    "msisdn", "phone number", "contact number", "contact no", "contact", "mob", "ph", "telefon",
    "telefono", "telefone", "telefoon", "telefonnummer", "telefonnr", "handy", "handynummer",
    "rufnummer", "mobil", "movil", "celular", "cellulare", "portable", "gsm", "mobiel",
    "mobilnummer", "numero de telefono", "numero de telephone", "puhelin", "puhelinnumero", "tlf",
    "tfno", "tlfn", "llamame", "appelez", "chiama", "ligue", "anrufen", "komorka", "nr tel",
    "telefonu", "cep telefonu", "電話", "电话", "手机", "携帯", "聯絡",
    "전화", "휴대폰", "телефон", "тел",
    "мобильный", "звоните", "τηλεφωνο", "هاتف", "जवाल", "फोन", "מספר טלפון", "טלפון", "โทร",
    "my number", "our number", "his number", "her number", "mi numero", "mon numero", "meu numero",
    "meine nummer", "mio numero", "moj numer",
    "phonenumber", "phoneno", "mobileno", "mobilenumber",
)  # fmt: skip
NOT_A_PHONE = Words(
    "order", "invoice", "ticket", "tracking", "ref", "reference", "case", "account", "acct", "id",
    "isbn", "serial", "sku", "po", "version", "timestamp", "epoch", "amount", "total", "price",
    "zip", "date", "imei", "number of", "build", "batch", "part", "model", "usd", "eur",
    "bestellung", "commande", "pedido",
)  # fmt: skip

_GAP = r"[ \t.()/-]{0,3}"

_INTERNATIONAL = (
    rf"\+[ (]{{0,2}}[2-9](?:{_GAP}[0-9]){{5,14}}"
    rf"|\+[ (]{{0,2}}1{_GAP}[2-9](?:{_GAP}[0-9]){{9}}"
)
_EXIT_CODE = rf"\b(?:00|011[ -])[ (]?[1-9](?:{_GAP}[0-9]){{6,14}}"
_NORTH_AMERICAN = (
    r"(?:1[. -])?(?:\([2-9][0-9]{2}\)[ .-]{0,2}|[2-9][0-9]{2}[ .-]{1,2}|[2-9][0-9]{2}/)"
    r"[2-9][0-9]{2}[ .-]{1,2}[0-9]{4}"
)
_ZERO = r"(?:\b|\()0[1-9]"
_JOINT = r"(?:[ .-]{1,2}|/ ?| / )"
_TRUNK = "|".join(
    (
        rf"{_ZERO}[0-9]{{0,4}}\)?{_JOINT}[0-9]{{5,8}}(?:[ .-][0-9]{{1,4}}\b)?",
        rf"{_ZERO}[0-9]{{0,4}}\)?{_JOINT}[0-9]{{3,4}}(?:[ .-][0-9]{{2,5}}){{1,3}}",
        rf"{_ZERO}[0-9]{{0,3}}\)?{_JOINT}[0-9]{{2}}(?:[ .-][0-9]{{2}}){{2,3}}",
        r"\(0\)[ -]?[1-9][0-9]{1,4}(?:[ .-][0-9]{2,6}){1,4}",
        r"\(0[1-9][0-9]{0,4}\)[0-9]{5,8}",
    )
)
_AREA_IN_BRACKETS = r"(?:8 ?)?\([1-9][0-9]{1,4}\) ?9?[ ]?[0-9]{2,5}(?:[ .-][0-9]{2,5}){1,3}"
_MOBILE = (
    r"\b(?:1[3-9][0-9][ -][0-9]{4}[ -][0-9]{4}"  # China
    r"|8[ -]\(?[3-9][0-9]{2}\)?[ -][0-9]{3}[ -][0-9]{2}[ -]?[0-9]{2})\b"  # Russia
)
_NAMED = rf"\(?[0-9](?:{_GAP}[0-9]){{6,14}}"
_TRUNK_PREFILTER = r"\b0[1-9][0-9]{0,4}\)?[ ./-]{1,3}[0-9]{2,8}[ .-]?[0-9]{2}|\(0[0-9]{0,5}\)"

# ITU E.164 country codes, by the shortest and longest national number in use. Very short numbers
# of large countries are left out: they are as often something else.
_LENGTHS: dict[tuple[int, int], str] = {
    (4, 5): "290",
    (5, 5): "247 500 682",
    (6, 6): "298 299 672 687",
    (6, 7): "597 676 677 678 683 688 690",
    (6, 11): "352 358",
    (6, 12): "39 43 49",
    (7, 7): "238 239 246 248 269 291 297 592 673 674 680 691 692",
    (7, 8): "241 386 599 670 675 686 853 961 965 975",
    (7, 9): "27 40 46 220 231 252 263 265 354 355 376 385 421 423 508 681 967 968",
    (7, 10): "44 48 53 61 95 98 230 243 254 267 353 372 685 880 960",
    (7, 11): "31 375 501 503 507 595 679 974",
    (7, 12): "62 63 82 86 359 381 598 882 971 972",
    (8, 8): "45 47 216 222 223 226 227 228 232 235 236 253 257 266 268 350 356 357 370 371 373 374"
    " 389 505 509 800 973 993",
    (8, 9): "32 36 51 213 224 233 237 250 258 264 377 382 387 591 689 852 886 962 963",
    (8, 10): "20 60 64 84 378 506 850 855 856 964 970 976",
    (8, 11): "57 65 92 502 504 593 977",
    (8, 12): "66 81 91 383 808 878 883 888 979",
    (9, 9): "33 34 41 93 94 211 212 218 221 240 242 244 245 249 251 255 256 260 261 262 351 420 590"
    " 594 596 992 994 995 998",
    (9, 10): "380 881 966 996",
    (9, 11): "55 56",
    (9, 12): "870",
    (10, 10): "1 52 58 225 229",
    (10, 11): "54",
    (10, 12): "7 30 90 234",
}
_NATIONAL = {
    code: lengths for lengths, codes in _LENGTHS.items() for code in codes.encode().split()
}

_DATE = re.compile(
    rb"\(?(?:(?:0?[1-9]|[12][0-9]|3[01])[./-](?:0?[1-9]|[12][0-9]|3[01])[./-](?:19|20)[0-9]{2}"
    rb"|(?:19|20)[0-9]{2}[./ -](?:0?[1-9]|1[0-2])[./ -](?:0?[1-9]|[12][0-9]|3[01])"
    rb"|(?:0?[1-9]|[12][0-9]|3[01])[./-](?:0?[1-9]|1[0-2])[./-][0-9]{2})(?![0-9])"
)
_DOTTED = Pattern(r"(?:[0-9]+\.)+[0-9]|(?:[0-9]+\.)*[0-9]\.[0-9.]+|[0-9]+\.[0-9]+")
_SEVEN_DIGITS = re.compile(rb"[0-9]{3,4}\.[0-9]{4}")
_YEARS = re.compile(rb"(?:19|20)[0-9]{2} ?- ?(?:19|20)[0-9]{2}")
_COORDINATE = re.compile(rb"\+[0-9]{1,3}\.[0-9]{3,20}[-+]")
_BLANKS = re.compile(rb"[ \t][ \t.()/-]{0,2}")
_ROW = re.compile(rb"(?:[ \t]{1,2}[0-9]{1,9}){3}")
_COUNTING = re.compile(rb"[0-9]+")
_LABELS = frozenset((b"tel", b"phone", b"call", b"fax", b"mobile", b"t", b"p", b"m", b"ph"))


def international(doc: Document, start: int, end: int) -> Hit | None:
    """Judge ``+`` and digits: an assigned country code and a length in use there."""
    raw = doc.raw
    before = raw[start - 1]
    if before in ALPHANUMERIC and word_before(raw, start) not in _LABELS:
        return None
    if raw[start + 1] == 0x20 and raw[start + 2 : end].isdigit():
        return None  # a sum
    if before == 0x2B or (before in b".-" and raw[start - 2] in DIGITS):
        return None
    return _judge_international(raw, start, start + 1, end)


def exit_code(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an international number dialled with 00 or 011; unbroken digits need a word."""
    raw = doc.raw
    skip = 2 if raw[start + 1] == 0x30 else 3
    if raw[start - 1] in b" .-+:" and raw[start - 2] in DIGITS:
        return None
    if all(len(group) == 4 for group in _COUNTING.findall(raw[start:end])):
        return None  # code points and other tables of fours
    hit = _judge_international(raw, start, start + skip, end)
    if hit and raw[hit[0] : hit[1]].isdigit() and not doc.near(PHONE_WORDS, start, end):
        return None
    return hit


def _judge_international(raw: bytes, start: int, first: int, end: int) -> Hit | None:
    hit = _ends_international(raw, start, first, end)
    # It may have run on into what is counted, timed or sold after it.
    for gap in reversed(list(_BLANKS.finditer(raw[first:end]))):
        if hit or _ROW.match(raw, first + gap.start()):
            break
        hit = _ends_international(raw, start, first, first + gap.start())
    return hit


def _ends_international(raw: bytes, start: int, first: int, end: int) -> Hit | None:
    digits = digits_of(raw, first, end)
    code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in _NATIONAL), None)
    if code is None or not _finished(raw, end):
        return None
    low, high = _NATIONAL[code]
    national = digits[len(code) :]
    if b"(0)" in raw[first:end]:
        national = national[1:]
    if len(national) > high and national[0] == 0x30:
        national = national[1:]
    if not low <= len(national) <= high:
        return None
    if code == b"1" and not _north_american(national):
        return None
    gaps = raw[first:end].translate(None, b"0123456789")
    if _COORDINATE.match(raw, start):
        return None
    # "+40.7128000" is a coordinate, "+1.2125550123" the notation of domain registries.
    if gaps == b"." and raw[first + len(code)] != 0x2E:
        return None
    if gaps == b"." and len(national) < 8:
        return None
    if len(set(national)) < 2:
        return None
    return Hit(start, end, Confidence.MEDIUM)


def north_american(doc: Document, start: int, end: int) -> Hit | None:
    """Judge ten digits grouped three, three, four."""
    raw = doc.raw
    before = raw[start - 1]
    if before in ALPHANUMERIC and word_before(raw, start) not in _LABELS:
        return None
    if before in b".-/_+" and raw[start - 2] in ALPHANUMERIC and raw[start - 2] in DIGITS:
        return None
    if not _finished(raw, end):
        return None
    digits = digits_of(raw, start, end)[-10:]
    if not _north_american(digits) or len(set(digits)) < 3:
        return None
    if b"." in raw[start:end] and b"-" in raw[start:end]:
        return None  # "252.227-7013", a clause
    blank_only = not any(byte in b".-/(" for byte in raw[start:end])
    crowded = (before in b" \t" and raw[start - 2] in DIGITS) or (
        raw[end] in b" \t" and raw[end + 1] in DIGITS
    )
    if ((blank_only and crowded) or doc.before(NOT_A_PHONE, start)) and (
        not doc.near(PHONE_WORDS, start, end)
    ):
        return None
    return Hit(start, end, Confidence.MEDIUM)


def trunk(doc: Document, start: int, end: int) -> Hit | None:
    """Judge groups of digits that start with a trunk zero, as most countries write them."""
    raw = doc.raw
    if not _national_edges(raw, start, end):
        return None
    digits = digits_of(raw, start, end)
    longest = 12 if digits.startswith(b"08") else 11
    if not 9 <= len(digits) <= longest or len(set(digits)) < 3:
        return None
    if _DATE.match(raw, start) or _counts_up(raw, start, end):
        return None
    if len(digits) == 9 and raw[start:end].count(b".") and not doc.near(PHONE_WORDS, start, end):
        return None
    if doc.before(NOT_A_PHONE, start) and not doc.near(PHONE_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.MEDIUM)


def area_in_brackets(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a number whose area code stands in brackets."""
    raw = doc.raw
    if not _national_edges(raw, start, end):
        return None
    digits = digits_of(raw, start, end)
    if not 9 <= len(digits) <= 11 or len(set(digits)) < 3:
        return None
    opening = raw.find(b"(", start, end)
    closing = raw.find(b")", opening, end)
    area = raw[opening + 1 : closing]
    if len(area) == 4 and area[:2] in (b"19", b"20") and not doc.near(PHONE_WORDS, start, end):
        return None  # "(2019) 123-4567": a year and pages
    return Hit(start, end, Confidence.MEDIUM)


def mobile(doc: Document, start: int, end: int) -> Hit | None:
    """Judge numbers of countries that write them without a zero or brackets, by their groups."""
    return Hit(start, end, Confidence.MEDIUM) if _national_edges(doc.raw, start, end) else None


def named(doc: Document, start: int, end: int) -> Hit | None:
    """Judge any digits in the length of a phone number, where a word says so."""
    raw = doc.raw
    digits = digits_of(raw, start, end)
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3 or not _national_edges(raw, start, end):
        return None
    if (
        _DATE.match(raw, start)
        or _YEARS.fullmatch(raw, start, end)
        or (_DOTTED.fills(raw[start:end]) and not _SEVEN_DIGITS.fullmatch(raw, start, end))
        or not doc.near(PHONE_WORDS, start, end)
    ):
        return None
    if doc.before(NOT_A_PHONE, start):
        return None
    return Hit(start, end, Confidence.LOW)


def _north_american(digits: bytes) -> bool:
    # North American Numbering Plan: neither area nor exchange starts with 0 or 1.
    return len(digits) == 10 and digits[0] > 0x31 and digits[3] > 0x31


def _national_edges(raw: bytes, start: int, end: int) -> bool:
    before = raw[start - 1]
    if before in ALPHANUMERIC and word_before(raw, start) not in _LABELS:
        return False
    if before in b".-/+,:_$#" and (raw[start - 2] in ALPHANUMERIC or before in b"$#+"):
        # A label, or a column of a table: "tel:...", "17,0153/4766658".
        return (before in b"/:," and raw[start - 2] in LETTERS) or (
            before == 0x2C and raw[start] in b"0("
        )
    if before == 0x20 and raw[start - 2] in DIGITS and raw[start - 3] in b"+0123456789":
        return False
    return _finished(raw, end) and not (raw[end] == 0x20 and raw[end + 1] in DIGITS)


def _finished(raw: bytes, end: int) -> bool:
    """Tell whether a number ends at ``end``, save for an extension."""
    after = raw[end]
    if after in LETTERS:
        return raw[end : end + 3].lower() in (b"ext",) or (
            after in b"xX" and raw[end + 1] in DIGITS
        )
    if after in DIGITS or after in b"%*":
        return False
    return not (after in b".:,-/_" and raw[end + 1] in DIGITS and after != 0x2C)


def _counts_up(raw: bytes, start: int, end: int) -> bool:
    groups = [int(n) for n in _COUNTING.findall(raw[start:end])]
    return len(groups) > 2 and all(b - a == 1 for a, b in pairwise(groups))


DETECTOR = Detector(
    "phone",
    Kind.PII,
    # Most begin with a digit or a sign, as many other things do: asked for is what is rarer.
    (
        Rule(_INTERNATIONAL, international, prefilter=r"\+[ (]{0,2}[1-9]"),
        Rule(_EXIT_CODE, exit_code, prefilter=r"\b0(?:0|11)[ -]?[ (]?[1-9]"),
        Rule(_NORTH_AMERICAN, north_american, prefilter=_NORTH_AMERICAN),
        Rule(_TRUNK, trunk, prefilter=_TRUNK_PREFILTER),
        Rule(_AREA_IN_BRACKETS, area_in_brackets, prefilter=r"\([1-9][0-9]{1,4}\) {0,2}[0-9]"),
        Rule(_MOBILE, mobile),
        Rule(_NAMED, named, prefilter=PHONE_WORDS.source),
    ),
    words=(PHONE_WORDS, NOT_A_PHONE),
    hits=(
        "+44 20 7946 0958",
        "0044 20 7946 0958",
        "(212) 555-0123",
        "06 12 34 56 78",
        "138 1234 5678",
        "phone: 2125550123",
    ),
    misses=("2125550123", "2024-01-02 03:04:05", "+40.7128, -74.0060", "order 212-555-0123"),
)
