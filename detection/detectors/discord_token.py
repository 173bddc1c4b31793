"""Tokens of Discord, and the addresses of its web hooks."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = (
    r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}|mfa\.[A-Za-z0-9_-]{80,}"
    r"|discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/[0-9]{16,20}/[A-Za-z0-9_-]{60,}"
)
_PREFILTER = r"[A-Za-z0-9_-]\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{8}|mfa\.|discord"

DETECTOR = Detector(
    "discord_token",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key, prefilter=_PREFILTER),),
    hits=("MTA" + "4eB3dE5gH7jK9mN1pQ3sT5v.GhIjKl.X7zA9cE1gI3kM5oQ7sU9wY1aC3e",),
    misses=(
        "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
        "discord.com/api/webhooks/",
    ),
)
