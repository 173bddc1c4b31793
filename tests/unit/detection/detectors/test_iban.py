from __future__ import annotations

from collections.abc import Callable

import pytest
import stdnum.iban
from hypothesis import given
from hypothesis import strategies as st

from detection.detectors.iban import mod97

Find = Callable[[str], list[str]]

SAMPLES = [
    "GB82WEST12345698765432",
    "DE89370400440532013000",
    "FR1420041010050500013M02606",
    "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S",
    "LC55HEMM000100010012001200023015",
    "NL91ABNA0417164300",
    "CH9300762011623852957",
    "BR1800360305000010009795493C1",
]


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=34))
def test_mod97_agrees_with_stdnum(text: str) -> None:
    from stdnum.iso7064 import mod_97_10

    assert mod97(text.encode()) == mod_97_10.is_valid(text[4:] + text[:4])


@pytest.mark.parametrize("iban", SAMPLES)
@pytest.mark.parametrize("around", ["{}", "IBAN: {}.", "iban{}", "pay {} today", '"{}"', r"\n{}\n"])
@pytest.mark.parametrize("style", ["plain", "spaced", "lower", "dashed", "nbsp"])
def test_ibans_are_found(find: Find, iban: str, around: str, style: str) -> None:
    assert stdnum.iban.is_valid(iban)
    groups = [iban[n : n + 4] for n in range(0, len(iban), 4)]
    written = {
        "plain": iban,
        "spaced": " ".join(groups),
        "lower": iban.lower(),
        "dashed": "-".join(groups),
        "nbsp": "\u00a0".join(groups),
    }[style]
    assert f"iban:{written}" in find(around.format(written))


@pytest.mark.parametrize(
    "text",
    [
        "GB82WEST12345698765433",
        "DE8937040044053201300",
        "DE893704004405320130001",
        "XX89370400440532013000",
        "GB82 1234 1234 5698 7654 32",
        "at 12 past noon they all met in the hall",
        "9fde89370400440532013000",
    ],
)
def test_what_only_looks_like_an_iban_passes(find: Find, text: str) -> None:
    assert not [h for h in find(text) if h.startswith("iban")]


def test_two_ibans_in_a_row_are_two(find: Find) -> None:
    text = "GB82 WEST 1234 5698 7654 32 DE89 3704 0044 0532 0130 00"
    assert sum(h.startswith("iban") for h in find(text)) == 2
