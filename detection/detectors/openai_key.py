"""Keys of OpenAI."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = (
    r"sk-(?:proj|svcacct|admin|None|service)-[A-Za-z0-9_-]{20,}"
    r"|sk-[A-Za-z0-9]{32,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"
)

DETECTOR = Detector(
    "openai_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT5vX7", "sk-" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kM5"),
    misses=("sk-learn-contrib-package-name-that-is-long", "sk-" + "aB3dE5gH7jK9"),
)
