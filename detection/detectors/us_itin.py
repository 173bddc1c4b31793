"""Individual taxpayer identification numbers of the USA."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, digits_of
from detection.findings import Confidence, Kind
from detection.three_two_four import SSN_WORDS, first_digit, grouped, stands_apart
from detection.words import Words

TAXPAYER_WORDS = Words(
    "itin", "taxpayer", "tax id", "tax identification", "tax number", "tax no", "tin", "irs",
    "w 7", "individual tax",
)  # fmt: skip

_PATTERN = grouped("9[0-9]{2}", "[5-9][0-9]", "[0-9]{4}") + r"|\b9[0-9]{8}\b"
_GROUPS = frozenset((*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)))


def plausible_itin(digits: bytes) -> bool:
    """Tell whether nine ASCII digits can be an individual taxpayer identification number."""
    return (
        digits[0] == 0x39
        and int(digits[3:5]) in _GROUPS
        and len(set(digits)) > 1
        and not digits.startswith(b"98765432")  # printed in advertisements
    )


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an individual taxpayer number; context is asked for: 9xx is also many other things."""
    raw = doc.raw
    start = first_digit(raw, start)
    if raw[end] in ALPHANUMERIC or not stands_apart(doc, start, end):
        return None
    digits = digits_of(raw, start, end)
    if not plausible_itin(digits) or not doc.near(TAXPAYER_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.MEDIUM if end - start > 9 else Confidence.LOW)


DETECTOR = Detector(
    "us_itin",
    Kind.PII,
    (Rule(_PATTERN, check, prefilter=TAXPAYER_WORDS.source),),
    words=(TAXPAYER_WORDS, SSN_WORDS),
    hits=("my ITIN: 912-70-1237", "taxpayer id 912701237"),
    misses=("912-70-1237", "ITIN 912-69-1237", "ITIN 987-65-4321"),
)
