from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from detection.normalize import Trace, fold


def test_disguises_come_off() -> None:
    assert fold("ｐａｓｓ　１２３") == "pass 123"
    assert fold("1\u200b2\u00ad3\ufeff4\u202e5") == "12345"
    assert fold("a–b—c−d‑e") == "a-b-c-d-e"
    assert fold("٣४๕𝟞") == "3456"
    assert fold("Führerschein naïve") == "Fuhrerschein naive"
    assert fold("１\u0336２\u0336") == "12"
    assert fold("a\x00b\x1fc\x7fd") == "a b c d"
    assert fold("a\tb\nc\r") == "a\tb\nc\r"


# Unicode 16, DerivedCoreProperties: Default_Ignorable_Code_Point.
DEFAULT_IGNORABLE = (
    "00AD 034F 061C 115F..1160 17B4..17B5 180B..180D 180E 180F 200B..200F 202A..202E 2060..2064 "
    "2065 2066..206F 3164 FE00..FE0F FEFF FFA0 FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000 E0001 "
    "E0002..E001F E0020..E007F E0080..E00FF E0100..E01EF E01F0..E0FFF"
)


def test_what_shows_nothing_is_nothing() -> None:
    ranges = [[int(end, 16) for end in each.split("..")] for each in DEFAULT_IGNORABLE.split()]
    points = {point for ends in ranges for point in range(ends[0], ends[-1] + 1)}
    assert len(points) == 4174  # as the table itself counts them
    points |= {n for n in range(0x110000) if unicodedata.category(chr(n)) in ("Cf", "Mn", "Me")}
    assert [hex(point) for point in sorted(points) if fold(chr(point)) != ""] == []


@given(st.text())
def test_folding_is_stable_and_free_of_disguises(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert "\x1f" not in folded
    assert not any(unicodedata.category(c) in ("Cf", "Mn") for c in folded)


@given(st.text(max_size=40), st.text("0123456789abc", min_size=1, max_size=9), st.text(max_size=40))
def test_spans_lead_back_to_the_original(before: str, value: str, after: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in value)
    text = before + wide + after
    start = len(fold(before))
    trace = Trace(text)
    assert fold(text)[start : start + len(value)] == value
    first, last = trace.start(start), trace.end(start + len(value))
    assert text[first:last].lstrip("".join(c for c in before if not fold(c))) == wide
