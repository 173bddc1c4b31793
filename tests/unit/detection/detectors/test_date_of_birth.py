from __future__ import annotations

from collections.abc import Callable

import pytest

Find = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("DOB: 05/21/1990", "05/21/1990"),
        ("date of birth 1990-05-21", "1990-05-21"),
        ("geboren am 21.05.1990", "21.05.1990"),
        ("née le 21/05/1990", "21/05/1990"),
        ("born on May 21, 1990", "May 21, 1990"),
        ("fecha de nacimiento: 21 de mayo de 1990", "21 de mayo de 1990"),
        ("生年月日：1990年5月21日", "1990年5月21"),
        ("birthdate=19900521", "19900521"),
    ],
)
def test_dates_of_birth(find: Find, text: str, value: str) -> None:
    assert f"date_of_birth:{value}" in find(text)


@pytest.mark.parametrize(
    "text",
    [
        "the meeting is on 05/21/1990",
        "software license key ABCD-1234",
        "the airborne unit landed on 2001-02-03",
        "passport control opens at 08:00",
        "born to be wild",
    ],
)
def test_words_or_shapes_alone_are_nothing(find: Find, text: str) -> None:
    assert find(text) == []
