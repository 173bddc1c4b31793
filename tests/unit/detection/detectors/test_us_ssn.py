from __future__ import annotations

from collections.abc import Callable

import pytest
import stdnum.us.ssn
from hypothesis import given
from hypothesis import strategies as st

from detection import Scan
from detection.detectors.us_ssn import plausible_ssn

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]


@given(st.text("0123456789", min_size=9, max_size=9))
def test_ssn_rules_agree_with_stdnum(digits: str) -> None:
    if len(set(digits)) > 1:
        assert plausible_ssn(digits.encode()) == stdnum.us.ssn.is_valid(digits)


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
