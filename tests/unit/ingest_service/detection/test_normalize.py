from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ingest_service.detection.normalize import Trace, fold


def test_disguises_come_off() -> None:
    assert fold("ｐａｓｓ　１２３") == "pass 123"
    assert fold("1\u200b2\u00ad3\ufeff4\u202e5") == "12345"
    assert fold("a–b—c−d‑e") == "a-b-c-d-e"
    assert fold("٣४๕𝟞") == "3456"
    assert fold("Führerschein naïve") == "Fuhrerschein naive"
    assert fold("１\u0336２\u0336") == "12"
    assert fold("a\x00b\x1fc\x7fd") == "a b c d"
    assert fold("a\tb\nc\r") == "a\tb\nc\r"


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
