from __future__ import annotations

from collections.abc import Callable

import pytest
import stdnum.us.rtn
from hypothesis import given
from hypothesis import strategies as st

from detection.detectors.us_routing_number import valid_routing

Find = Callable[[str], list[str]]


@given(st.text("0123456789", min_size=9, max_size=9))
def test_routing_checksum_agrees_with_stdnum(digits: str) -> None:
    if valid_routing(digits.encode()):
        assert stdnum.us.rtn.is_valid(digits)


@pytest.mark.parametrize("text", ["routing number 021000021", "ABA: 021000021", "rtn 021000021"])
def test_routing_numbers(find: Find, text: str) -> None:
    assert "us_routing_number:021000021" in find(text)


@pytest.mark.parametrize("text", ["routing number 021000022", "number 021000021"])
def test_routing_numbers_need_checksum_and_words(find: Find, text: str) -> None:
    assert find(text) == []
