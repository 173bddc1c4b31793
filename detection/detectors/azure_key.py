"""Keys of Azure, and signatures of its addresses."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import assigned

_PATTERN = (
    r"(?i:AccountKey|SharedAccessKey) ?= ?([A-Za-z0-9+/]{40,}={1,2})"
    r"|\b([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})"
    r"|[?&;](?i:sig)=([A-Za-z0-9%+/]{40,}(?:%3[Dd]|=)?)"
    r"|([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})"
    r"|\b([A-Za-z0-9]{52}JQQJ9[A-Za-z0-9]{10,})"
)
_PREFILTER = r"(?i:accountkey|sharedaccesskey) ?=|[?&;](?i:sig)=|[0-9]Q~|AZDO|JQQJ9"
# By itself: beside the others it is looked for up to the end of a run again after each of them.
_SIGNED = r"\b[A-Za-z0-9+/]{33,}\+(?:AMC|ABa|ASt|ACR|AzSe)[A-Za-z0-9+/]{5}[AQgw]==?"

DETECTOR = Detector(
    "azure_key",
    Kind.SECRET,
    (
        Rule(_PATTERN, assigned, prefilter=_PREFILTER),
        Rule(_SIGNED, assigned, prefilter=r"\+(?:AMC|ABa|ASt|ACR|AzSe)"),
    ),
    hits=(
        "AccountKey=" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kM5oQ7sU9wY==",
        "abc8Q~" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3k",
    ),
    misses=("AccountKey=<your-key>", "sig=none"),
)
