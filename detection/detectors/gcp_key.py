"""Keys of Google Cloud."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[A-Za-z0-9_-]{24,}"

DETECTOR = Detector(
    "gcp_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=(
        "AIza" + "SyB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3k",
        "GOCSPX-" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9c",
    ),
    misses=("AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe", "AIza is how they begin"),
)
