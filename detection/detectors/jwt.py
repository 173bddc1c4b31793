"""JSON web tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode

from detection.detector import MANY, Detector, Hit, Rule
from detection.document import Document
from detection.edges import clear_before
from detection.findings import Confidence, Kind
from detection.secret_values import published


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a JSON web token: its header decodes to JSON that names an algorithm."""
    raw = doc.raw
    value = raw[start:end]
    if not clear_before(raw, start) or published(value):
        return None
    header = value.split(b".", 1)[0]
    try:
        decoded = json.loads(urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict) or not ("alg" in decoded or "typ" in decoded):
        return None
    return Hit(start, end, Confidence.HIGH)


DETECTOR = Detector(
    "jwt",
    Kind.SECRET,
    (Rule(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*", check, max_refused=MANY),),
    hits=("Bearer eyJhbGciOiJub25lIn0." + "eyJzdWIiOiIxIn0.c2lnbmVk",),
    misses=("eyJub3QiOiJhIGp3dCJ9.abc.def", "eyJub3QiOiJhIGp3dCJ9." + "abcd.efgh"),
)
