"""Tokens of npm."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"npm_[A-Za-z0-9]{36}|_authToken ?= ?\"?([A-Za-z0-9+/=-]{20,})"

DETECTOR = Detector(
    "npm_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=(
        "npm_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kM5",
        "_authToken=" + "aB3dE5gH7jK9mN1pQ3sT5vX7",
    ),
    misses=("npm_config_registry", "_authToken=${NPM_TOKEN}"),
)
