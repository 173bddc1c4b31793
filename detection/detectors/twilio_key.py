"""Keys and tokens of Twilio."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC
from detection.findings import Confidence, Kind
from detection.secret_values import entropy, vendor_key_of_fixed_length
from detection.words import Words

TWILIO_WORDS = Words("twilio")

_PATTERN = r"(?:SK|AC)[0-9a-fA-F]{32}"


def token(doc: Document, start: int, end: int) -> Hit | None:
    """Judge thirty-two hex digits near the word Twilio."""
    raw = doc.raw
    if raw[end] in ALPHANUMERIC or raw[start - 1] in ALPHANUMERIC:
        return None
    if entropy(raw[start:end]) < 3.0 or not doc.near(TWILIO_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.LOW)


DETECTOR = Detector(
    "twilio_key",
    Kind.SECRET,
    (
        Rule(_PATTERN, vendor_key_of_fixed_length),
        Rule("[0-9a-f]{32}", token, prefilter=TWILIO_WORDS.source),
    ),
    words=(TWILIO_WORDS,),
    hits=(
        "SK" + "3f9a1c7e5b8d20461a7c3e9f5d2b8046",
        "twilio auth " + "3f9a1c7e5b8d20461a7c3e9f5d2b8046",
    ),
    misses=("3f9a1c7e5b8d20461a7c3e9f5d2b8046", "AC" + "3f9a1c7e5b8d2046"),
)
