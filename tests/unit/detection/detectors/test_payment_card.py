from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from detection import Scan, Scanner
from detection.fields import walk
from detection.policy import parse_policy
from detection.policy_file import packaged_policy

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]


@pytest.mark.parametrize(
    "text",
    [
        "4539148803436467",
        "4539 1488 0343 6467",
        "4539-1488-0343-6467",
        "4539.1488.0343.6467",
        "4539_1488_0343_6467",
        "4539/1488/0343/6467",
        "4539  1488  0343  6467",
        "4539 - 1488 - 0343 - 6467",
        "4539\t1488\t0343\t6467",
        "4539-1488 0343-6467",
        "4539\u00a01488\u00a00343\u00a06467",
        "4539–1488–0343–6467",
        "45 39 14 88 03 43 64 67",
        "4 5 3 9 1 4 8 8 0 3 4 3 6 4 6 7",
        "４５３９１４８８０３４３６４６７",
        "4539\u200b1488\u200b0343\u200b6467",
        "4539\u00ad1488\u00ad0343\u00ad6467",
        "٤٥٣٩١٤٨٨٠٣٤٣٦٤٦٧",
    ],
)
@pytest.mark.parametrize(
    "around",
    ["{}", "card={};", '{{"pan":"{}"}}', "1,{},12/27", "paid with {}.", "カード{}です", "x\n{}\ny"],
)
def test_every_notation_is_found_wherever_it_stands(find: Find, text: str, around: str) -> None:
    assert f"payment_card:{text}" in find(around.format(text))


@pytest.mark.parametrize(
    "text",
    [
        "3782 822463 10005",
        "3782-822463-10005",
        "3056 930902 5904",
        "6759 6498 2643 8453",
        "PAN4539148803436467",
        "4539148803436467exp1227",
        "4539 1488 0343 6467 12/27 123",
        "4539 1488 0343 6467 2027",
        "2300 4539 1488 0343 6467",
        "4539 1488 0343 6467 4539 1488 0343 6467",
        "card 1111 2222 4539 1488 0343 6467 3333 4444 5555 6666",
        r"line\n4539148803436467\n",
    ],
)
def test_other_groupings_and_neighbours(find: Find, text: str) -> None:
    assert any(hit.startswith("payment_card:") for hit in find(text))


@pytest.mark.parametrize(
    "text",
    [
        "4539148803436468",
        "0.4539148803436467",
        "4539148803436467.25",
        "a4539148803436467",
        "4539148803436467a",
        "453914880343646712345",
        "imei 378282246310005",
        "1111111111111111",
        "978-3-16-148410-0",
        "1718000000000000",
        "1234.5678 4539.1488 0343.6467",
        "54FE 54FF 5500 5501 5502 5503 5504",
        "00AF 4539 1488 0343 6467",
        "123e4567-e89b-12d3-a456-426614174000",
        "45391488 03436467 units",
        "tracking number 9400 1118 9922 3334 4455 66",
    ],
)
def test_what_only_looks_like_a_card_passes(find: Find, text: str) -> None:
    assert not [h for h in find(text) if h.startswith("payment_card")]


def test_a_card_sent_as_a_number(scan: Detect) -> None:
    (finding,) = scan({"amount": 1, "pan": 4539148803436467}).findings
    assert (finding.detector, finding.pointer) == ("payment_card", "/data/pan")


def test_tables_of_numbers_rarely_ring(find: Find) -> None:
    numbers = random.Random(7)
    rows = [" ".join(str(numbers.randrange(1000, 10_000)) for _ in range(10)) for _ in range(200)]
    assert sum("payment_card" in str(find(row)) for row in rows) <= 6


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("4539148833436461 exp 12/27 CVV: 123 ok", "**************** exp **/** CVV: *** ok"),
        ("cvc 1234, card 4539148833436461", "cvc ****, card ****************"),
        ("4539148833436461|12|2027|123", "****************|**|****|***"),
        ("4539148833436461 12/27 123 Bob", "**************** **/** *** Bob"),
        ('{"n":"4539148833436461","cvv":"987"}', '{"n":"****************","cvv":"***"}'),
        (
            {"pan": "4539148833436461", "cvv": 123, "expMonth": 12, "name": "Bob"},
            {"pan": "****************", "cvv": "***", "expMonth": "**", "name": "Bob"},
        ),
        (
            {"pan": [4539, 1488, 3343, 6461], "cvc": "123", "n": 1},
            {"pan": ["****"] * 4, "cvc": "***", "n": 1},
        ),
        ("4539%2D1488%2D3343%2D6461 cvv%3A 123", "****%******%******%****** cvv%3A ***"),
        ("4539148833436461,123 ok", "****************,*** ok"),
        ("4539148833436461 code 123 exp 1229", "**************** code *** exp ****"),
        (["4539148833436461", "12/29", 123, "Bob"], ["****************", "**/**", "***", "Bob"]),
        (
            {"pan": "4539148833436461", "verification_value": "123"},
            {"pan": "****************", "verification_value": "***"},
        ),
        ({"exp": 1700000000, "cid": 5}, {"exp": 1700000000, "cid": 5}),
    ],
)
def test_what_belongs_to_a_card_is_hidden_with_it(
    to_value: Callable[[object], struct_pb2.Value], content: object, kept: object
) -> None:
    data = to_value(content)
    scan = Scanner(parse_policy("version: 1\naction: redact\n")).scan(walk(data, 8), "")
    assert json.loads(json_format.MessageToJson(scan.mask(data))) == kept
    refused = Scanner(packaged_policy()).scan(walk(data, 8), "")
    whole = json_format.MessageToJson(refused.mask(data))
    assert "123" not in whole and "987" not in whole


@pytest.mark.parametrize(
    "content",
    [
        {"payment": {"card": "4539148833436461"}, "cvv": "987"},
        {"card": "4539148833436461", "extra": {"cvv": "987"}},
        {"cards": [{"pan": "4539148833436461"}], "codes": [{"cvc": 987}]},
    ],
)
def test_a_refused_card_takes_every_code_with_it(
    scanner: Scanner, to_value: Callable[[object], struct_pb2.Value], content: object
) -> None:
    data = to_value(content)
    assert "987" not in json_format.MessageToJson(scanner.scan(walk(data, 8), "").mask(data))


def test_codes_beside_many_cards_are_looked_for_once(
    to_value: Callable[[object], struct_pb2.Value],
) -> None:
    content = {"card": ["4539148833436461"] * 300, **{f"cvv{n}": "123" for n in range(300)}}
    data = to_value(content)
    scan = Scanner(parse_policy("version: 1\naction: redact\n")).scan(walk(data, 8), "")
    assert sum(map(len, scan._spans.values())) == 600


def test_an_allowed_card_keeps_what_belongs_to_it(
    to_value: Callable[[object], struct_pb2.Value],
) -> None:
    policy = parse_policy('version: 1\nallow: {values: ["4539148833436461"]}\n')
    content = {"pan": "4539148833436461", "cvv": 123, "note": "4539148833436461 cvv 123"}
    assert Scanner(policy).scan(walk(to_value(content), 8), "").findings == ()


def test_a_card_anywhere_in_a_long_row_is_found(find: Callable[[str], list[str]]) -> None:
    row = ["1488"] * 29
    for place in (0, 4, 24, 28, 29):
        text = "card " + "-".join([*row[:place], "4539", "1488", "3343", "6461", *row[place:]])
        start = 5 + 5 * place
        assert f"payment_card:{text[start : start + 19]}" in find(text)
