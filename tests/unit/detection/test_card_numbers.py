from __future__ import annotations

import pytest
import stdnum.luhn
from hypothesis import given
from hypothesis import strategies as st

from detection.card_numbers import is_card, issued, luhn


@given(st.text("0123456789", min_size=2, max_size=19))
def test_luhn_agrees_with_stdnum(digits: str) -> None:
    assert luhn(digits.encode()) == stdnum.luhn.is_valid(digits)


@pytest.mark.parametrize(
    "number",
    [
        "4222222222222",
        "4111111111111111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "38520000023237",
        "6011111111111117",
        "3530111333300000",
        "6200000000000005",
        "6759649826438453",
        "2200000000000004",
        "6500000000000002",
    ],
)
def test_every_scheme_is_known(number: str) -> None:
    assert is_card(number.encode())


@pytest.mark.parametrize("number", ["0000000000000000", "1234567812345670", "4111111111111112"])
def test_numbers_no_scheme_issues_or_luhn_refuses(number: str) -> None:
    assert not is_card(number.encode())


def test_length_belongs_to_the_scheme() -> None:
    assert issued(b"371449635398431")
    assert not issued(b"3714496353984311")
