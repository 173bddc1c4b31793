"""Tokens of PyPI."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"pypi-[A-Za-z0-9_-]{50,}"

DETECTOR = Detector(
    "pypi_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("pypi-" + "AgEIcHlwaS5vcmcCJGIyN2Y4ZTYxLTk1ZDQtNGE3Yy1iM2Q4LWU5",),
    misses=("pypi-server-with-a-long-name",),
)
