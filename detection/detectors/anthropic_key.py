"""Keys of Anthropic."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"sk-ant-[A-Za-z0-9_-]{20,}"

DETECTOR = Detector(
    "anthropic_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("sk-ant-" + "api03-aB3dE5gH7jK9mN1pQ3sT5vX7",),
    misses=("sk-ant-" + "short", "sk-ant-" + "xxxxxxxxxxxxxxxxxxxxxxxx"),
)
