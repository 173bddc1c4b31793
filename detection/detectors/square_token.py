"""Tokens of Square."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"EAAA[A-Za-z0-9_-]{22,}|sq0(?:atp|csp|idp|cgp)-[A-Za-z0-9_-]{22,}"

DETECTOR = Detector(
    "square_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("EAAA" + "lB3dE5gH7jK9mN1pQ3sT5vX7zA9c", "sq0atp-" + "aB3dE5gH7jK9mN1pQ3sT5v"),
    misses=("sq0atp-" + "aB3dE5", "EAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
)
