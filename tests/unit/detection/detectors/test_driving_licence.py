from __future__ import annotations

from collections.abc import Callable

import pytest

Find = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("driver's license D1234567", "D1234567"),
        ("driving licence: MORGA657054SM9IJ", "MORGA657054SM9IJ"),
        ("DL# S530-4608-7654", "S530-4608-7654"),
        ("Führerschein B072RRE2I55", "B072RRE2I55"),
        ("permis de conduire 12AB34567", "12AB34567"),
    ],
)
def test_driving_licences(find: Find, text: str, value: str) -> None:
    assert f"driving_licence:{value}" in find(text)
