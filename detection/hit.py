"""What a check answers when it takes a candidate for the real thing."""

from __future__ import annotations

from detection.findings import Confidence

Hit = tuple[int, int, Confidence]
"""Start and end in the joined bytes, and how sure the check is."""
