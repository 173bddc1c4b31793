"""Tokens of GitHub."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}"

DETECTOR = Detector(
    "github_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kM5",),
    misses=("ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ghp_" + "aB3dE5gH7jK9mN"),
)
