"""Access keys of AWS: ids, and the secrets that belong to them."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS
from detection.engine import Pattern, every
from detection.findings import Confidence, Kind
from detection.secret_values import entropy, made_up, vendor_key_of_fixed_length
from detection.words import Words

AWS_WORDS = Words(
    "aws", "amazon", "secret access key", "secretaccesskey", "secret key", "aws secret"
)

_ID_PATTERN = r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}|ABSK[A-Za-z0-9+/]{100,}={0,2}"
_SECRET_PATTERN = r"[A-Za-z0-9/+]{40}"  # noqa: S105 - a pattern
_ID_PREFILTER = "A(?:KI|SI|BI|CC|3T|BS)[A-Z0-9]{5}"

_ID = Pattern(_ID_PATTERN)
_SECRET = Pattern(_SECRET_PATTERN)
# How far from the id of an access key its secret stands in a text: a line or two.
_BESIDE = 256


def secret(doc: Document, start: int, end: int) -> Hit | None:
    """Judge forty base64 characters near words that name AWS, or beside the id of an access key: in
    the same text, or in the same object or list."""
    if not _looks_secret(doc.raw, start, end):
        return None
    numbered = any(byte in DIGITS for byte in doc.raw[start:end])
    named = numbered and doc.near(AWS_WORDS, start, end)
    if not named and not _beside_an_id(doc, start, end):
        return None
    return Hit(start, end, Confidence.MEDIUM)


def _looks_secret(raw: bytes, start: int, end: int) -> bool:
    value = raw[start:end]
    if raw[end] in ALPHANUMERIC or raw[start - 1] in ALPHANUMERIC or raw[end] in b"/+=":
        return False
    return (
        entropy(value) >= 4.0 and not made_up(value) and any(0x41 <= byte <= 0x5A for byte in value)
    )


def _beside_an_id(doc: Document, start: int, end: int) -> bool:
    index = doc.index_at(start)
    first, last = doc.bounds(index)
    if _ID.occurs(doc.raw, max(first, start - _BESIDE), min(last, end + _BESIDE)):
        return True
    fields = doc.fields
    owners = doc.containers_with(_ID)
    return index < len(fields.texts) and fields.places[index][0] in owners


def secrets_beside(doc: Document, found: list[tuple[int, int]], refused: bool) -> list[int]:
    """Return the numbers of the texts that may hold the secret of a key whose id was found: of a
    refused submission, wherever they stand."""
    if not refused:
        return []
    spans = [(first, last) for first, last, _ in every(_SECRET, doc.raw)]
    return [doc.index_at(first) for first, last in spans if _looks_secret(doc.raw, first, last)]


DETECTOR = Detector(
    "aws_key",
    Kind.SECRET,
    (
        Rule(_ID_PATTERN, vendor_key_of_fixed_length),
        Rule(_SECRET_PATTERN, secret, prefilter=f"{AWS_WORDS.source}|{_ID_PREFILTER}"),
    ),
    words=(AWS_WORDS,),
    texts_beside=secrets_beside,
    hits=("AKIA" + "Q8Z5LMN7PQRSTUVW", "aws secret " + "q8Zk2LmN0pQrSt7vWxYz1834Ab3dEf9hIjKl9+/a"),
    misses=("AKIAIOSFODNN7EXAMPLE", "q8Zk2LmN0pQrSt7vWxYz1834Ab3dEf9hIjKl9+/a"),
)
