"""What the US numbers of nine digits share that are written in groups of three, two and four."""

from __future__ import annotations

from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, clear_before, word_before
from detection.words import Words

SSN_WORDS = Words(
    "ssn", "social security", "soc sec", "social sec", "socialsecurity", "ss no", "ss number",
    "ss num", "seguro social", "numero de seguro", "numero de securite sociale", "ssn4",
    "sozialversicherungsnummer", "社会保障", "社会安全",
)  # fmt: skip

LEFT = r"(?:\b|_|\\[nrt]|(?i:ssn|itin))"
"""What may stand before the first group."""

# Two joints are of one kind, or differ with a dash among them: of a price and a count
# (``123.45 6789``) they differ without one.
_DASH = r"[ \t]?-[ \t]?"
_JOINT = r"(?:[ \t]?[./_-][ \t]?|[ \t]{1,2})"
_BLANKS = frozenset(b" \t")
_CHAINS = frozenset(b"-./_")


def grouped(first: str, second: str, third: str, after_blanks: str = "") -> str:
    """Return the pattern for three groups however they are joined, in one line.

    ``after_blanks`` is what must follow where nothing but blanks joins them.
    """
    alike = [rf"{first}{joint}{second}{joint}{third}" for joint in (r"\.", "/", "_")]
    dashed = (
        rf"{first}{_DASH}{second}{_JOINT}{third}",
        rf"{first}{_JOINT}{second}{_DASH}{third}",
    )
    blanks = r"[ \t]{1,2}"
    apart = f"{first}{blanks}{second}{blanks}{third}{after_blanks}"
    return f"{LEFT}(?:{'|'.join((*dashed, *alike, apart))})"


def stands_apart(doc: Document, start: int, end: int) -> bool:
    """Tell whether a grouped number is no part of a longer chain of groups."""
    raw = doc.raw
    before, after = raw[start - 1], raw[end]
    if raw[start + 3] in _BLANKS and (
        (before in _BLANKS and raw[start - 2] in DIGITS)
        or (after in _BLANKS and raw[end + 1] in DIGITS)
    ):
        # Three numbers of a table look the same; its neighbours give it away.
        return doc.near(SSN_WORDS, start, end)
    if (
        before in ALPHANUMERIC
        and not clear_before(raw, start)
        and word_before(raw, start) not in (b"ssn", b"itin", b"ss")
    ):
        return False
    if before in _CHAINS and (raw[start - 2] in DIGITS or _hex_group(raw, start - 1)):
        return False
    if after in _CHAINS:
        beyond = raw[end + 1]
        if beyond in DIGITS or (after in b"-_" and beyond in ALPHANUMERIC):
            return False
    return True


def first_digit(raw: bytes, start: int) -> int:
    """Return where from ``start`` on the first digit is."""
    while raw[start] not in DIGITS:
        start += 1
    return start


def _hex_group(raw: bytes, end: int) -> bool:
    """Tell whether the group of letters and digits that ends at ``end`` holds a digit."""
    first = end
    while raw[first - 1] in ALPHANUMERIC and end - first < 40:
        first -= 1
    return any(byte in DIGITS for byte in raw[first:end])
