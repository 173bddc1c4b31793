"""Tokens of Telegram bots."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, word_before
from detection.findings import Confidence, Kind
from detection.secret_values import entropy, published

_PATTERN = r"[0-9]{8,10}:[A-Za-z0-9_-]{35}"


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge the token of a Telegram bot."""
    raw = doc.raw
    value = raw[start:end]
    if raw[end] in ALPHANUMERIC or raw[end] in b"_-":
        return None
    if raw[start - 1] in ALPHANUMERIC and not word_before(raw, start).endswith(b"bot"):
        return None
    if published(value) or entropy(value[-35:]) < 3.5:
        return None
    return Hit(start, end, Confidence.MEDIUM)


DETECTOR = Detector(
    "telegram_token",
    Kind.SECRET,
    (Rule(_PATTERN, check, prefilter="[0-9]{4}:[A-Za-z0-9_-]{8}"),),
    hits=("4839574812:" + "AAFz39kkdpWt3ywyRZergyOLMaJhac60qXk",),
    misses=("110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "1234567890:short"),
)
