from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.engine import Pattern
from detection.prefilters import beginning

PATTERNS = {
    "gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}": (
        "gh[pousr]_[A-Za-z0-9]{8}|github_pat_[A-Za-z0-9_]"
    ),
    r"(?:SK|AC)[0-9a-f]{32}\b": "(?:SK|AC)[0-9a-f]{10}",
    r"\bkey-(?:t[0-9]_)?[a-z.-]{20}": r"\bkey-(?:t[0-9]_)?[a-z.-]{8}",
    "tok_ ?= ?[0-9]+": "tok_ ?= ?[0-9]",
    "abcd[0-9]*z": "abcd",
    "ab(?:[ -]{0,2}[0-9]){11,30}x": "ab(?:[ -]{0,2}[0-9]){10}",
    "abc(?:de+f|gh){2}ij": "abc(?:de|gh)",
    r"(?i:ab)\.[^\x00-\x7f]{3}\\x": r"(?i:ab)\.[^\x00-\x7f]{3}\\x",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_begins_with_what_is_sure(pattern: str) -> None:
    assert beginning(pattern) == PATTERNS[pattern]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_beginning_occurs_wherever_its_pattern_does(pattern: str, data: st.DataObject) -> None:
    around = st.text("ab1 _-", max_size=3)
    text = data.draw(st.tuples(around, st.from_regex(pattern), around).map("".join)).encode()
    if Pattern(pattern).occurs(text, 0, len(text)):
        assert Pattern(beginning(pattern)).occurs(text, 0, len(text))


@pytest.mark.parametrize(
    "pattern",
    ["[a-z]+@[a-z]+", "ab", "abcd|x", "ab*cdef", "abcd+?e", "abcd(?P<n>e)", "^abcdef", ""],
)
def test_what_nothing_is_sure_of_needs_a_prefilter(pattern: str) -> None:
    with pytest.raises(ValueError, match="state a prefilter"):
        beginning(pattern)
