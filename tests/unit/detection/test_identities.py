from __future__ import annotations

from collections.abc import Callable

import pytest
import stdnum.us.itin
import stdnum.us.rtn
import stdnum.us.ssn
from hypothesis import given
from hypothesis import strategies as st

from detection import Scan
from detection.identities import plausible_itin, plausible_ssn, valid_routing

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]

NINE = st.text("0123456789", min_size=9, max_size=9)


@given(NINE)
def test_ssn_rules_agree_with_stdnum(digits: str) -> None:
    if len(set(digits)) > 1:
        assert plausible_ssn(digits.encode()) == stdnum.us.ssn.is_valid(digits)


@given(NINE)
def test_itins_of_stdnum_are_plausible(digits: str) -> None:
    if stdnum.us.itin.is_valid(digits) and not digits.startswith("98765432"):
        assert plausible_itin(digits.encode()) == (len(set(digits)) > 1)


@given(NINE)
def test_routing_checksum_agrees_with_stdnum(digits: str) -> None:
    if valid_routing(digits.encode()):
        assert stdnum.us.rtn.is_valid(digits)


@pytest.mark.parametrize(
    "text",
    [
        "123-45-6789",
        "123 45 6789",
        "123.45.6789",
        "123–45–6789",
        "123‑45‑6789",
        "123 - 45 - 6789",
        "123-45 6789",
        "１２３-４５-６７８９",
        "1\u200b23-45-67\u200b89",
    ],
)
@pytest.mark.parametrize("around", ["{}", "id={};", '{{"n":"{}"}}', "It is {}.", "a,{},b"])
def test_separated_ssns_are_found(find: Find, text: str, around: str) -> None:
    assert f"us_ssn:{text}" in find(around.format(text))


@pytest.mark.parametrize(
    "text",
    [
        "my social security number: 536225587",
        "SSN536225587",
        "ssn=536225587",
        "soc. sec. no. 536225587",
        "536225587 is her ssn",
        "numero de seguro social 536225587",
    ],
)
def test_bare_ssns_are_found_by_context(find: Find, text: str) -> None:
    assert "us_ssn:536225587" in find(text)


@pytest.mark.parametrize(
    "content",
    [
        {"ssn": "536225587"},
        {"userSsn": 536225587},
        {"USER_SSN": "536225587"},
        {"ssn": {"value": "536225587"}},
        {"ssns": ["536225587"]},
        {"type": "ssn", "value": "536225587"},
        {"ssn": 36225587},
    ],
)
def test_bare_ssns_are_found_by_their_key(scan: Detect, content: object) -> None:
    assert "us_ssn" in [f.detector for f in scan(content).findings]


@pytest.mark.parametrize(
    "text",
    [
        "078-05-1120",
        "219-09-9999",
        "900-12-3456",
        "000-12-3456",
        "666-12-3456",
        "123-00-4567",
        "123-45-0000",
        "536225587",
        "1-123-45-6789",
        "123-45-6789-01",
        "123-45-67890",
        "rows 10 123 45 6789 20",
        "123.45 6789",
        "9f-123-45-6789",
    ],
)
def test_what_only_looks_like_an_ssn_passes(find: Find, text: str) -> None:
    assert not [h for h in find(text) if h.startswith("us_ssn")]


def test_itin_needs_its_words(find: Find) -> None:
    assert "us_itin:912-70-1234" in find("ITIN 912-70-1234")
    assert "us_itin:912701234" in find("taxpayer id: 912701234")
    assert find("912-70-1234") == []


@pytest.mark.parametrize("text", ["routing number 021000021", "ABA: 021000021", "rtn 021000021"])
def test_routing_numbers(find: Find, text: str) -> None:
    assert "us_routing_number:021000021" in find(text)


@pytest.mark.parametrize("text", ["routing number 021000022", "number 021000021"])
def test_routing_numbers_need_checksum_and_words(find: Find, text: str) -> None:
    assert find(text) == []


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
