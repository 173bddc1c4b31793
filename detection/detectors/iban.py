"""IBANs (ISO 13616): the registry's length and structure by country, and mod-97 (ISO 7064)."""

from __future__ import annotations

import re

from detection.detector import MANY, Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC
from detection.findings import Confidence, Kind

# SWIFT's IBAN registry, release 101: what follows the two check digits; n digits, a letters,
# c either.
_STRUCTURES = {
    "AD": "8n12c", "AE": "19n", "AL": "8n16c", "AT": "16n", "AZ": "4a20c", "BA": "16n",
    "BE": "12n", "BG": "4a6n8c", "BH": "4a14c", "BI": "23n", "BR": "23n1a1c", "BY": "4c4n16c",
    "CH": "5n12c", "CR": "18n", "CY": "8n16c", "CZ": "20n", "DE": "18n", "DJ": "23n",
    "DK": "14n", "DO": "4c20n", "EE": "16n", "EG": "25n", "ES": "20n", "FI": "14n",
    "FK": "2a12n", "FO": "14n", "FR": "10n11c2n", "GB": "4a14n", "GE": "2a16n", "GI": "4a15c",
    "GL": "14n", "GR": "7n16c", "GT": "24c", "HN": "4a20n", "HR": "17n", "HU": "24n",
    "IE": "4a14n", "IL": "19n", "IQ": "4a15n", "IS": "22n", "IT": "1a10n12c", "JO": "4a4n18c",
    "KW": "4a22c", "KZ": "3n13c", "LB": "4n20c", "LC": "4a24c", "LI": "5n12c", "LT": "16n",
    "LU": "3n13c", "LV": "4a13c", "LY": "21n", "MC": "10n11c2n", "MD": "20c", "ME": "18n",
    "MK": "3n10c2n", "MN": "16n", "MR": "23n", "MT": "4a5n18c", "MU": "4a19n3a", "NI": "4a20n",
    "NL": "4a10n", "NO": "11n", "OM": "3n16c", "PK": "4a16c", "PL": "24n", "PS": "4a21c",
    "PT": "21n", "QA": "4a21c", "RO": "4a16c", "RS": "18n", "RU": "14n15c", "SA": "2n18c",
    "SC": "4a20n3a", "SD": "14n", "SE": "20n", "SI": "15n", "SK": "20n", "SM": "1a10n12c",
    "SO": "19n", "ST": "21n", "SV": "4a20n", "TL": "19n", "TN": "20n", "TR": "6n16c",
    "UA": "6n19c", "VA": "18n", "VG": "4a16n", "XK": "16n", "YE": "4a4n18c",
}  # fmt: skip

_CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[0-9A-Z]"}


def _shape(structure: str) -> tuple[int, re.Pattern[bytes]]:
    parts = [(int(size), kind) for size, kind in re.findall(r"(\d+)([nac])", structure)]
    length = 4 + sum(size for size, _ in parts)
    body = "".join(f"{_CLASSES[kind]}{{{size}}}" for size, kind in parts)
    return length, re.compile(rf"[A-Z]{{2}}[0-9]{{2}}{body}".encode())


_SHAPES = {country.encode(): _shape(structure) for country, structure in _STRUCTURES.items()}
_JOINTS = frozenset(b" -._/\t")
_NUMERALS = {byte: b"%d" % int(chr(byte), 36) for byte in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}

_PATTERN = (
    rf"(?:\b|_|\\[nrt])(?i:iban)?(?i:{'|'.join(_STRUCTURES)})[ ]?[0-9]{{2}}"
    r"(?:[ \t._/-]{0,2}[0-9A-Za-z]){11,30}"
)


def mod97(iban: bytes) -> bool:
    """Tell whether upper-case ASCII ``iban`` without separators passes ISO 7064 mod 97-10."""
    return int(b"".join([_NUMERALS[byte] for byte in iban[4:] + iban[:4]])) % 97 == 1


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a candidate; the pattern may have run on into the words after the IBAN."""
    raw = doc.raw
    if raw[start] == 0x5C:
        start += 2
    elif raw[start] == 0x5F:
        start += 1
    if raw[start : start + 4].lower() == b"iban":
        start += 4
    length, shape = _SHAPES[raw[start : start + 2].upper()]
    stop = start + length
    compact = raw[start:stop]
    if raw[start + 2] == 0x20 and compact[3:].isalnum():
        return None  # "at 12345...", a word and a number
    if not compact.isalnum():
        kept = bytearray()
        stop = start
        while len(kept) < length:
            byte = raw[stop]
            if byte in ALPHANUMERIC:
                kept.append(byte)
            elif byte not in _JOINTS or stop >= end:
                return None
            stop += 1
        compact = bytes(kept)
    compact = compact.upper()
    if shape.fullmatch(compact) is None or raw[stop] in ALPHANUMERIC:
        return None
    if not mod97(compact):
        return None
    return Hit(start, stop, Confidence.HIGH)


DETECTOR = Detector(
    "iban",
    Kind.PII,
    (Rule(_PATTERN, check, step=4, max_refused=MANY),),
    hits=("GB82WEST12345698765432", "iban: de89 3704 0044 0532 0130 00", "NO93-8601-1117-947"),
    misses=("GB82WEST12345698765433", "XX89370400440532013000", "at 12 past noon they all met"),
)
