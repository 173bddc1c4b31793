"""Routing numbers of US banks."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import in_number
from detection.findings import Confidence, Kind
from detection.words import Words

ROUTING_WORDS = Words(
    "routing", "aba", "rtn", "routing number", "routing no", "transit number", "bank routing",
    "routing transit", "aba number", "fedwire", "ach", "routingnumber",
)  # fmt: skip

_DISTRICTS = frozenset((*range(13), *range(21, 33), *range(61, 73), 80))


def valid_routing(digits: bytes) -> bool:
    """Tell whether nine ASCII digits pass the ABA checksum and name a Federal Reserve district."""
    d = [byte - 48 for byte in digits]
    total = 3 * (d[0] + d[3] + d[6]) + 7 * (d[1] + d[4] + d[7]) + d[2] + d[5] + d[8]
    return total % 10 == 0 and int(digits[:2]) in _DISTRICTS and total > 0


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a US bank routing number."""
    raw = doc.raw
    if raw[start] == 0x5F:
        start += 1
    if in_number(raw, start, end) or not valid_routing(raw[start:end]):
        return None
    return Hit(start, end, Confidence.HIGH) if doc.near(ROUTING_WORDS, start, end) else None


DETECTOR = Detector(
    "us_routing_number",
    Kind.PII,
    (Rule(r"\b[0-9]{9}\b|_[0-9]{9}\b", check, prefilter=ROUTING_WORDS.source),),
    words=(ROUTING_WORDS,),
    hits=("routing number 021000021", "ABA 011401533"),
    misses=("routing number 021000022", "number 021000021"),
)
