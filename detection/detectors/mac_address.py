"""MAC addresses."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, clear
from detection.findings import Confidence, Kind
from detection.words import Words

HARDWARE_ADDRESS_WORDS = Words(
    "mac", "mac address", "hwaddr", "bssid", "ether", "lladdr", "macaddr"
)

_HEX2 = r"[0-9A-Fa-f]{2}"
_PATTERN = (
    rf"{_HEX2}(?::{_HEX2}){{5}}|{_HEX2}(?:-{_HEX2}){{5}}"
    r"|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)
_HEX_LETTERS = frozenset(b"abcdefABCDEF")


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge six octets joined one way, no more and no fewer."""
    raw = doc.raw
    value = raw[start:end]
    joint = value[2] if value[2] not in ALPHANUMERIC else value[4]
    if not clear(raw, start, end) or (
        raw[start - 1] in b".*"
        or (raw[start - 1] == joint and raw[start - 2] in ALPHANUMERIC)
        or (raw[end] == joint and raw[end + 1] in ALPHANUMERIC)
    ):
        return None
    digits = bytes([byte for byte in value if byte in ALPHANUMERIC]).lower()
    if len(set(digits)) < 2:
        return None
    lettered = any(byte in _HEX_LETTERS for byte in digits)
    mixed = lettered and any(byte in DIGITS for byte in digits)
    if joint != 0x3A and not mixed and not doc.near(HARDWARE_ADDRESS_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.MEDIUM)


DETECTOR = Detector(
    "mac_address",
    Kind.PII,
    (
        Rule(
            _PATTERN,
            check,
            prefilter=rf"{_HEX2}[:-]{_HEX2}[:-]{_HEX2}[:-]|[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}}\.",
        ),
    ),
    words=(HARDWARE_ADDRESS_WORDS,),
    hits=("00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e", "001a.2b3c.4d5e", "mac 12-34-56-78-90-12"),
    misses=("ff:ff:ff:ff:ff:ff", "12-34-56-78-90-12", "SHA1 aa:bb:cc:dd:ee:ff:00:11:22:33"),
)
