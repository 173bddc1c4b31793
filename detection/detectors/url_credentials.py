"""Passwords in URLs."""

from __future__ import annotations

import re

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.findings import Confidence, Kind
from detection.secret_values import COMMON_WORDS, is_reference, made_up

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_NOT_IN_URL = r" \t\r\n\x1f\"'<>"
# A password may hold what should have been encoded, "@" and "/" included, but no second "://".
_IN_PASSWORD = rf"(?:[^{_NOT_IN_URL}:]|:+/?[^{_NOT_IN_URL}:/])"
_PATTERN = (
    rf"{_SCHEME}[^{_NOT_IN_URL}/?#@:]*:({_IN_PASSWORD}{{2,}})@"
    r"[A-Za-z0-9\[._-]"
)

_PORT_AND_PATH = re.compile(rb"[0-9]{1,5}[/?#,;]")
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?[/?#,;&|]")


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge the password of ``scheme://user:password@host``.

    The candidate reaches to the last "@". Judged is what comes before the first "@" with a host
    after it; found is all of it, since nobody knows which "@" was meant.
    """
    raw = doc.raw
    value = raw[start:end]
    authority = raw.rfind(b"//", max(0, start - 64), start)
    if raw[authority + 2] == 0x5B or _PORT_AND_PATH.match(value):
        return None  # host:port/path and an "@" further on
    at = value.find(b"@", 2)
    while at >= 0 and not _HOST.match(value, at + 1):
        at = value.find(b"@", at + 1)
    judged = value[:at] if at >= 0 else value
    if made_up(judged) or is_reference(judged) or judged.lower() in COMMON_WORDS:
        return None
    return Hit(start, end, Confidence.MEDIUM)


DETECTOR = Detector(
    "url_credentials",
    Kind.SECRET,
    (Rule(_PATTERN, check, prefilter="://[^ /]*:[^ ]+@"),),
    hits=("postgres://app:" + "hunter2@db.internal:5432/x", "redis://:" + "9fj2k3l1@cache:6379"),
    misses=("https://user:password@example.com/", "http://host:8080/a@b"),
)
