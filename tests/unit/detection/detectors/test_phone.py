from __future__ import annotations

from collections.abc import Callable

import pytest

from detection import Scan

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]


@pytest.mark.parametrize(
    "number",
    [
        "+12125550123",
        "+1 212 555 0123",
        "+1 (212) 555-0123",
        "+1-212-555-0123",
        "+44 20 7946 0958",
        "+44 (0)20 7946 0958",
        "+33 1 23 45 67 89",
        "+49 30 901820",
        "+34 612 345 678",
        "+39 06 1234 5678",
        "+91 98765 43210",
        "+86 138 1234 5678",
        "+81 3-1234-5678",
        "+55 11 98765-4321",
        "+61 412 345 678",
        "+7 495 123-45-67",
        "+1.2125550123",
        "0044 20 7946 0958",
        "(212) 555-0123",
        "212-555-0123",
        "212.555.0123",
        "212 555 0123",
        "1-800-555-0199",
        "020 7946 0958",
        "07700 900123",
        "06 12 34 56 78",
        "01.23.45.67.89",
        "030 12345678",
        "0171/1234567",
        "0412 345 678",
        "03-1234-5678",
        "090-1234-5678",
        "010-1234-5678",
        "(11) 98765-4321",
        "(020) 7946 0958",
        "138 1234 5678",
        "8 (495) 123-45-67",
        "＋１２１２５５５０１２３",
    ],
)
@pytest.mark.parametrize("around", ["{}", "call {} now", '{{"n":"{}"}}', "a;{};b", "He said {}."])
def test_separated_and_international_numbers(find: Find, number: str, around: str) -> None:
    assert f"phone:{number}" in find(around.format(number))


@pytest.mark.parametrize(
    "text",
    [
        "phone: 2125550123",
        "Tel. 612345678",
        "mobile 9876543210",
        "teléfono 612 34 56 78",
        "Handy: 01711234567",
        "手机：13812345678",
        "電話番号0312345678",
        "телефон 89161234567",
        "ring me on 512 345 678",
        "555-0123 is my cell",
    ],
)
def test_bare_numbers_by_context(find: Find, text: str) -> None:
    assert any(hit.startswith("phone:") for hit in find(text))


@pytest.mark.parametrize(
    "content",
    [
        {"phone": "2125550123"},
        {"homePhone": 2125550123},
        {"contact_phone_number": "2125550123"},
        {"phones": ["2125550123"]},
        {"type": "mobile", "value": "2125550123"},
    ],
)
def test_bare_numbers_by_key(scan: Detect, content: object) -> None:
    assert "phone" in [f.detector for f in scan(content).findings]


@pytest.mark.parametrize(
    "text",
    [
        "2125550123",
        "2024-01-02 03:04:05",
        "01-02-2024 10:30",
        "2024-01-01T00:00:00+00:00",
        "UTC+05:30",
        "+40.7128, -74.0060",
        "+48.858844",
        "order 212-555-0123",
        "192.168.100.200",
        "1.234.567,89",
        "1 234 567 890",
        "01 02 03 04 05",
        "978-3-16-148410-0",
        "a+12125550123b",
        "v2.10.0-rc.1",
        "iPhone OS 17_1_1 like Mac OS X 53.0.872.0",
        "invoice 0123-456-789",
        "+1 012 345 6789",
        "123e4567-e89b-12d3-a456-426614174000",
        "call 911",
        "100-200-3000",
        "clause 252.227-7013 (c)",
        "0069 0307 0300",
        "tel 2002 - 2007",
        "17*a + 272107435*b",
    ],
)
def test_what_only_looks_like_a_phone_number_passes(find: Find, text: str) -> None:
    assert not [h for h in find(text) if h.startswith("phone")]


@pytest.mark.parametrize("number", ["+49 30 12345678", "+44 20 7946 0958", "0044 20 7946 0958"])
@pytest.mark.parametrize(
    "after", ["12:30", "2 tickets", "2026-01-01", "/ 123-45-6789", "- 4111 1111 1111 1111"]
)
def test_an_international_number_ends_before_what_follows(
    find: Find, number: str, after: str
) -> None:
    # Of some countries a number may be that much longer: then what follows is taken for its end.
    assert any(hit.startswith(f"phone:{number}") for hit in find(f"{number} {after}"))


def test_a_row_of_numbers_with_a_sign_is_no_number(find: Find) -> None:
    assert find("+20 100 200 300 400 500 600 700") == []
