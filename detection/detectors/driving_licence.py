"""Numbers of driving licences, by the words round them."""

from __future__ import annotations

import re

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import DIGITS, digits_of, in_number
from detection.findings import Confidence, Kind
from detection.words import Words

LICENCE_WORDS = Words(
    "driver license", "drivers license", "driver s license", "driver's license",
    "driver licence", "drivers licence", "driver's licence", "driving licence", "driving license",
    "drivers lic", "driver lic", "dl no", "dl number", "dl num", "dln", "dl", "licence number",
    "license number", "driverslicense", "driverlicense", "drivinglicence", "dvla",
    "permis de conduire", "numero de permis", "fuhrerschein", "fuhrerscheinnummer",
    "licencia de conducir", "licencia de conduccion", "permiso de conducir", "carnet de conducir",
    "patente di guida", "patente", "carteira de motorista", "cnh", "carta de conducao",
    "rijbewijs", "rijbewijsnummer", "prawo jazdy", "prawa jazdy", "korkort", "forerkort",
    "ajokortti", "ehliyet", "运转免许", "運転免許", "驾驶证", "驾照", "운전면허",
    "водительское", "водительские",
)  # fmt: skip

_PATTERN = r"\b[A-Za-z]{0,6}-?[0-9](?:[ *-]?[A-Za-z0-9]){3,20}\b"
_GROUP = re.compile(rb"[A-Za-z0-9*]+")
_YEAR = re.compile(rb"(?:19[0-9]|20[0-2])[0-9]")


def check(doc: Document, start: int, end: int) -> Hit | None:
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
    if digits < 4 or end - start > 24 or end - start < 5 or _YEAR.fullmatch(value):
        return None
    if in_number(raw, start, end):
        return None
    if not (doc.before(LICENCE_WORDS, start + 1) or doc.named(LICENCE_WORDS, doc.index_at(start))):
        return None
    return Hit(start, end, Confidence.LOW)


DETECTOR = Detector(
    "driving_licence",
    Kind.PII,
    (Rule(_PATTERN, check, prefilter=LICENCE_WORDS.source),),
    words=(LICENCE_WORDS,),
    hits=("driver's license D1234567", "DL# S530-4608-7654", "permis de conduire 12AB34567"),
    misses=("D1234567", "software license key ABCD-1234", "driving licence since 1999"),
)
