"""Everyday notations of a card and a social security number, and what only looks like them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import Scan, Scanner
from detection.fields import walk
from detection.policy import parse_policy
from detection.policy_file import packaged_policy
from ingest_service.gate import Gate
from ingest_service.submission import Submission
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

Detect = Callable[[object], Scan]
ToValue = Callable[[object], struct_pb2.Value]

CARD = ("4539", "1488", "3343", "6461")
SSN = ("536", "22", "5587")

JOINED = {
    "percent": "%20", "dash in percent": "%2D", "twice": "%252D", "hyphen in percent": "%E2%80%91",
    "entity": "&#45;", "hexadecimal entity": "&#x2d;", "name": "&nbsp;", "hyphen": "&hyphen;",
    "minus": "&minus;", "entity in entity": "&amp;#45;", "escape": "\\u002d", "again": "\\\\u002d",
    "short escape": "\\x2d", "plus": "+", "comma": ",", "comma and blank": ", ", "quotes": '","',
    "quotes in a string": '\\",\\"', "soft break": "-=\n", "quoted-printable": "=2D",
    "unassigned": "-\u2065", "specials": "\ufff0-", "tag": "-\U000e0080",
}  # fmt: skip


def submission(data: struct_pb2.Value) -> Submission:
    return Submission(SubmitRequest(data=data))


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("around", ["{}", "it is {} so", "a\n[{}]\nb"])
@pytest.mark.parametrize(("detector", "groups"), [("payment_card", CARD), ("us_ssn", SSN)])
def test_groups_however_joined(
    scan: Detect, detector: str, groups: tuple[str, ...], around: str, name: str
) -> None:
    value = JOINED[name].join(groups)
    text = around.format(value)
    (finding,) = scan(text).findings
    assert finding.detector == detector
    assert text[finding.start : finding.end] == value


CONTENT = {
    "payment_card": (
        [4539, 1488, 3343, 6461], ["4539", 1488, "3343", 6461], [45391488, 33436461],
        ["45391488", "33436461"], ["4539 1488", "3343 6461"], [4539148833436461],
        {"card": [4539, 1488, 3343, 6461], "n": 1}, {"x": {"pan": [4000, 0, 0, 2]}},
        json.dumps({"v": CARD}), json.dumps({"v": [int(each) for each in CARD]}, indent=2),
        json.dumps(json.dumps([int(each) for each in CARD])),
        [4, 5, 3, 9, 1, 4, 8, 8, 3, 3, 4, 3, 6, 4, 6, 1], "&#52;539 1488 3343 6461",
        "%34%35%33%39148833436461", '{"a":"\\u00345391488\\u00333436461"}', "4539 1488\n3343 6461",
        "4539-1488-\r\n    3343-6461", "> 4539 14\n> 88 3343 6461", "45391488\n33436461",
        "card 45391488334\n36461", "q=4539+1488+3343+6461&page=2", "4539 1488 3343=\r\n 6461",
    ),
    "us_ssn": (
        [536, 22, 5587], ["536", 22, "5587"], {"ssn": [53622, 5587]}, ["536-22", "5587"],
        {"ssn": [536225587]}, {"social_security": [78, 5, 1121]}, {"ssn": ["536", 22, 5587]},
        json.dumps({"v": [536, 22, 5587]}), json.dumps(json.dumps(SSN)), "536-22-\n5587",
        "536-\r\n  22-5587", "536-22\n5587", "ssn 536 22\n5587", "%35%33%36-22-5587",
        "&#53;36-22-5587", '{"ssn":"\\u003536-22-5587"}', "ssn%3A%20536225587", "v=536+22+5587",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("detector", "content"), [(name, each) for name, all_ in CONTENT.items() for each in all_]
)
def test_other_notations(scan: Detect, to_value: ToValue, detector: str, content: object) -> None:
    assert detector in {finding.detector for finding in scan(content).findings}
    assert not Gate(None).are_clean([submission(to_value(content))])


@pytest.mark.parametrize(
    "content",
    [
        {"prices": [4539, 1488, 3343, 6461]}, {"sizes": [536, 22, 5587]}, [4500, 5200, 6100, 7000],
        [4001, 4002, 4003, 4004], [[4539, 1488, 3343, 6461], [1, 2, 3, 4]], [536, 22, 5588.5],
        [[536, 22, 5587], [120, 45, 1003]], "[[536, 22, 5587], [120, 45, 1003]]",
        "120,45,1003\n121,46,1004", "1,536,22,5587", "536,22,5587,9", "17,4539,1488,3343,6461",
        "536+22+5587=6145", "4539+1488+3343+6461=15837", "2*536+22+5587",
        "4539\n1488\n3343\n6461\n1",
        "took 45391488\n20240501 next", "rows 536-22\n2024-05-01", "caf%C3%A9%20536",
        "&lt;536&gt; 22",
        "C:\\\\new\\\\5362", '{"note":"caf\\u00e9 536\\n22"}', {"ports": [8080, 4222, 5432, 6379]},
        [1, 2, 3], [52.1, 4.2], [1990, 1995, 2001, 2010], "x=20240501", ["a", 536, 22, 5587],
    ],
)  # fmt: skip
def test_what_only_looks_like_them_passes(scan: Detect, content: object) -> None:
    assert scan(content).findings == ()


def test_masking_hides_what_was_written(to_value: ToValue) -> None:
    scanner = Scanner(parse_policy("version: 1\naction: redact\n"))

    def masked(content: object) -> object:
        data = to_value(content)
        copy = scanner.scan(walk(data, 8), "").mask(data)
        return json.loads(json_format.MessageToJson(copy))

    assert masked("a %20 536%2D22%2D5587 b") == "a %20 ***%****%****** b"
    assert masked("é &#53;36-22-5587&nbsp;b") == "é &#**;**-**-****&nbsp;b"
    assert masked({"v": [4539, 1488, 3343, 6461], "n": 7}) == {"v": ["****"] * 4, "n": 7}
    assert masked({"536%2D22%2D5587": 1}) == {"***%****%******": 1}


def test_what_is_found_twice_is_told_once(scan: Detect) -> None:
    result = scan("bob@example.com and 536%2D22%2D5587")
    assert [finding.detector for finding in result.findings] == ["email", "us_ssn"]
    assert result.finding_count == 2


def test_a_list_is_looked_at_in_either_path(to_value: ToValue) -> None:
    gate = Gate(None)
    plain = (
        [1, 2, 3],
        [9.5] * 40,
        list(range(100)),
        ["red", "blue"],
        [{"a": 1}] * 40,
        [None, True],
    )
    for content in plain:
        assert gate.are_clean([submission(to_value({"v": content}))])
    for parted in (["536", {}, "22", "5587"], [*range(40), [1], *map(int, CARD)]):
        assert not gate.are_clean([submission(to_value(parted))])
        assert Scanner(packaged_policy()).scan(walk(to_value(parted), 8), "").findings


ODD = (
    "%20", "%", "%2", "%ff", "%E2%80%91", "&#45;", "&nbsp;", "&#99999999;", "&#0;", "&#xD800;",
    "&#4", "\\u002d", "\\ud835\\udfd2", "\\ud835", "\\u{FFFFFF}", "\\u{1F600}", "\\x41", "\\n",
    "\\", "=\n", "=20", "é", "４", "\u200b", "\ufdfa", "12", "+", ",", "\n", "[", '"', "\x00",
    "\x1f", "a",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(ODD), max_size=12).map("".join),
    st.sampled_from(["%2D", "&#45;", "\\u002d", "%252D", "&amp;minus;", "\\\\x2d"]),
    st.lists(st.sampled_from(ODD), max_size=12).map("".join),
)
def test_encoded_among_odd_encodings(scan: Detect, before: str, joint: str, after: str) -> None:
    value = joint.join(SSN)
    text = f"{before}\n({value})\n{after}"
    start = len(before) + 2
    spans = [(finding.start, finding.end) for finding in scan(text).findings]
    assert all(0 <= first < last <= len(text) for first, last in spans)
    assert any(first <= start and last >= start + len(value) for first, last in spans)
