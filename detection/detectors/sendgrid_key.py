"""Keys of SendGrid."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"

DETECTOR = Detector(
    "sendgrid_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("SG." + "aB3dE5gH7jK9mN1pQ3sT5v.X7zA9cE1gI3kM5oQ7sU9wY1aC3eG5iK7mO9qS1uW3y",),
    misses=("SG.aB3dE5gH7jK9", "MSG.txt"),
)
