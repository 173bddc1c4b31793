from __future__ import annotations

from collections.abc import Callable

import pytest

Find = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("passport number: C01X00T47", "C01X00T47"),
        ("Passport No. 533380006", "533380006"),
        ("pasaporte AAB123456", "AAB123456"),
        ("Reisepass C1234567", "C1234567"),
        ("паспорт 45 08 123456", "45 08 123456"),
    ],
)
def test_passports(find: Find, text: str, value: str) -> None:
    assert f"passport:{value}" in find(text)
