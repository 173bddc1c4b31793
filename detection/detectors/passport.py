"""Passport numbers, by the words round them."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import digits_of, in_number
from detection.findings import Confidence, Kind
from detection.words import Words

PASSPORT_WORDS = Words(
    "passport", "passports", "passport no", "passport number", "passeport", "pasaporte",
    "reisepass", "reisepassnummer", "passnummer", "pass nr", "passaporto", "passaporte", "paspoort",
    "paspoortnummer", "paszport", "passnr", "pass no", "passi", "pasaport", "passportnumber",
    "护照", "護照", "パスポート", "旅券", "여권", "паспорт", "паспорта",
)  # fmt: skip

_PATTERN = (
    r"\b(?:[0-9]{2} [0-9]{2} [0-9]{6}|[A-Za-z]{1,3}[ -][0-9]{6,8}"
    r"|[A-Za-z]{0,3}[0-9][A-Za-z0-9]{4,8})\b"
)


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a passport number by the words round it."""
    raw = doc.raw
    value = raw[start:end]
    digits = len(digits_of(raw, start, end))
    if digits < 6 and (digits < 4 or not value.isupper()):
        return None
    if in_number(raw, start, end) or not doc.near(PASSPORT_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.LOW)


DETECTOR = Detector(
    "passport",
    Kind.PII,
    (Rule(_PATTERN, check, prefilter=PASSPORT_WORDS.source),),
    words=(PASSPORT_WORDS,),
    hits=("passport number: C01X00T47", "Reisepass C1234567", "паспорт 45 08 123456"),
    misses=("C01X00T47", "passport control opens at 08:00"),
)
