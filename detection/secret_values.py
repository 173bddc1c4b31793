"""Telling secrets from samples, placeholders and code; the checks that keys of vendors share."""

from __future__ import annotations

import re
from collections import Counter
from math import log2

from detection.detector import Hit
from detection.document import Document
from detection.edges import ALPHANUMERIC, clear_before
from detection.engine import Pattern
from detection.findings import Confidence

# Keys that their vendors publish in documentation and test suites, and that everyone pastes.
_PUBLISHED = frozenset(
    (
        b"AKIAIOSFODNN7EXAMPLE",
        b"AKIAI44QH8DHBEXAMPLE",
        b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        b"je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        b"sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        b"sk_test_BQokikJOvBiI2HlWgH4olfQ2",
        b"sk_test_tR3PYbcVNZZ796tH88S4VQ2u",
        b"rk_test_4eC39HqLyjWDarjtT1zdp7dc",
        b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        b"C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==",
        b"110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
        b"123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11",
        b"4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qc",
        b"MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
        b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwia"
        b"WF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiY"
        b"WRtaW4iOnRydWUsImlhdCI6MTUxNjIzOTAyMn0.KMUFsIDTnFmyG3nMiGM6H9FNFUROf3wh7SmqJp-QV30",
        b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiY"
        b"WRtaW4iOnRydWV9.TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
        b"AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
        b"AIzaSyDdI0hCZtE6vySjMm-WEfRq3CPzqKqqsHI",
        b"AIzaSyAnLA7NfeLquW1tJFpx_eQCxoX-oo6YyIs",
        b"AIzaSyCkEhVjf3pduRDt6d1yKOMitrUEke8agEM",
        b"AIzaSyDMAScliyLx7F0NPDEJi1QmyCgHIAODrlU",
        b"AIzaSyD3asb-2pEZVqMkmL6M9N6nHZRR_znhrh0",
        b"AIzaSyAdOS2zB6NCsk1pCdZ4-P6GBdi_UUPwX7c",
        b"AIzaSyASWm6HmTMdYWpgMnjRBjxcQ9CKctWmLd4",
        b"AIzaSyANUvH9H9BsUccjsu2pCmEkOPjjaXeDQgY",
        b"AIzaSyA5_iVawFQ8ABuTZNUdcwERLJv_a_p4wtM",
        b"AIzaSyA4UrcGxgwQFTfaI3no3t7Lt1sjmdnP5sQ",
        b"AIzaSyDSb51JiIcB6OJpwwMicseKRhhrOq1cS7g",
        b"AIzaSyBF2RrAIm4a0mO64EShQfqfd2AFnzAvvuU",
        b"AIzaSyBcE-OOIbhjyR83gm4r2MFCu4MJmprNXsw",
        b"AIzaSyB8qGxt4ec15vitgn44duC5ucxaOi4FmqE",
        b"AIzaSyA8vmApnrHNFE0bApF4hoZ11srVL_n0nvY",
    )
)
_PLACEHOLDER = Pattern(
    r"(?i)example|sample|dummy|placeholder|change[_-]?me|changeit|replace|insert[_-]|your[_-]?"
    r"|redacted|\btodo\b|\bfixme\b|xxxx|\*\*\*|\.\.\.|not[_-]?a[_-]?real|\bfake|fake\b|masked"
    r"|hidden|removed|secret[_-]?here|lorem|test[_-]?key|my[_-](?:api|secret|token|password|key)"
    r"|goes[_-]?here|<[^>]*>|\$\{|\{\{|%\(|\$\("
)
# Typed by running a finger along the keyboard. A vendor's prefix before it says that it is meant
# as a key all the same.
_SEQUENCE = re.compile(
    rb"(?i)0000000|1234567890abcdef|abcdefghij|0123456789|foobar|deadbeef|aaaaaa"
)
_ENDS_AS_SAMPLE = re.compile(rb"(?i)example(?:key)?$")
COMMON_WORDS = frozenset(
    b"password passwd secret changeme pass pwd user admin root test token none null true false nil"
    b" undefined required optional string number boolean integer default empty unset missing"
    b" disabled enabled unknown invalid expired incorrect wrong reset hunter".split()
)
"""What is often assigned to a password and is none."""
_CODE = Pattern(
    r"(?:[$%{(<\[@*&:]|os\.|env\.|process\.|self\.|this\.|config\.|settings\.|getenv|request\.|req\."
    r"|args\.|https?:|/[a-z]|\./|file:|vault:|ref[:+]|arn:|secret[s]?[./]|var\.|local\.|data\."
    r"|new |[A-Za-z_.][A-Za-z0-9_.]*\(|[A-Za-z_]+\[)"
)


def entropy(value: bytes) -> float:
    """Return the Shannon entropy of ``value`` in bits a byte."""
    size = len(value)
    return -sum(n / size * log2(n / size) for n in Counter(value).values())


def published(value: bytes) -> bool:
    """Tell whether ``value`` is a sample from documentation or a placeholder, not a secret."""
    return value in _PUBLISHED or _ENDS_AS_SAMPLE.search(value) is not None


def placeholder(value: bytes) -> bool:
    """Tell whether ``value`` stands in for a secret rather than being one."""
    return published(value) or _PLACEHOLDER.occurs(value, 0, len(value))


def is_reference(value: bytes) -> bool:
    """Tell whether ``value`` begins as code or a reference does: it says where the secret is."""
    return _CODE.begins(value, 0, len(value)) is not None


def made_up(value: bytes) -> bool:
    """Tell whether ``value`` is a placeholder or a sequence, such as anyone types to fill in."""
    return placeholder(value) or _SEQUENCE.search(value) is not None


def vendor_key(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a key whose prefix names its vendor: not a sample, and not too regular."""
    raw = doc.raw
    value = raw[start:end]
    if raw[start - 1] in ALPHANUMERIC and not clear_before(raw, start):
        return None
    if placeholder(value) or entropy(value[-24:]) < 2.8:
        return None
    return Hit(start, end, Confidence.MEDIUM)


def vendor_key_of_fixed_length(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a vendor key of fixed length: as `vendor_key`, and nothing may follow directly."""
    if doc.raw[end] in ALPHANUMERIC or doc.raw[end] == 0x5F:
        return None
    return vendor_key(doc, start, end)


def assigned(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a part of a connection string or URL that only holds keys."""
    value = doc.raw[start:end]
    if made_up(value) or entropy(value) < 3.5:
        return None
    return Hit(start, end, Confidence.MEDIUM)
