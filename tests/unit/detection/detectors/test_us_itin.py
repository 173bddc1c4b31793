from __future__ import annotations

from collections.abc import Callable

import stdnum.us.itin
from hypothesis import given
from hypothesis import strategies as st

from detection.detectors.us_itin import plausible_itin

Find = Callable[[str], list[str]]


@given(st.text("0123456789", min_size=9, max_size=9))
def test_itins_of_stdnum_are_plausible(digits: str) -> None:
    if stdnum.us.itin.is_valid(digits) and not digits.startswith("98765432"):
        assert plausible_itin(digits.encode()) == (len(set(digits)) > 1)


def test_itin_needs_its_words(find: Find) -> None:
    assert "us_itin:912-70-1234" in find("ITIN 912-70-1234")
    assert "us_itin:912701234" in find("taxpayer id: 912701234")
    assert find("912-70-1234") == []
