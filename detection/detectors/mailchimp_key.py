"""Keys of Mailchimp."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key_of_fixed_length

_PATTERN = r"[0-9a-f]{32}-us[0-9]{1,2}"

DETECTOR = Detector(
    "mailchimp_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key_of_fixed_length, prefilter="[0-9a-f]-us[0-9]"),),
    hits=("3f9a1c7e5b8d20461a7c3e9f5d2b8046" + "-us14",),
    misses=("3f9a1c7e5b8d2046-us14", "0123456789abcdef0123456789abcdef"),
)
