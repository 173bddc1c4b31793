"""Tokens of Slack, and the addresses of its web hooks."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = (
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xoxe\.xox[bp]-[0-9]-[A-Za-z0-9]{20,}"
    r"|xapp-[0-9]-[A-Za-z0-9]+-[0-9]+-[A-Za-z0-9]+"
    r"|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{24,}"
)

DETECTOR = Detector(
    "slack_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=(
        "xoxb-" + "483920175634-aB3dE5gH7jK9mN1p",
        "hooks.slack.com/services/" + "T04AB9CD2/B07XY3ZW8/aB3dE5gH7jK9mN1pQ3sT5vX7",
    ),
    misses=("xoxb-your-token-here", "hooks.slack.com/services/"),
)
