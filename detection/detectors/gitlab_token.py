"""Tokens of GitLab."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = (
    r"gl(?:pat|dt|rt|rtr|ptt|ft|soat|agent|oas|cbt|imt|ffct|wt)-(?:t[0-9]_)?[A-Za-z0-9_.-]{20,}"
    r"|GR1348941[A-Za-z0-9_-]{20}"
)

DETECTOR = Detector(
    "gitlab_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("glpat-" + "aB3dE5gH7jK9mN1pQ3sT",),
    misses=("glpat-" + "aB3dE5gH7jK9", "glass-aB3dE5gH7jK9mN1pQ3sT"),
)
