from __future__ import annotations

import json
from collections.abc import Callable

from google.protobuf import json_format, struct_pb2
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from detection import Scan, Scanner
from detection.document import says
from detection.fields import walk
from detection.ip_addresses import NOT_AN_ADDRESS

ToValue = Callable[[object], struct_pb2.Value]

ADDRESS = "203.0.113.42"
VALUES = st.sampled_from(
    [
        "4539148803436467",
        "4539-1488-0343-6467",
        "536-22-5587",
        "bob.smith@example.com",
        "+442079460958",
        "DE89370400440532013000",
        ADDRESS,
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    ]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
CONTENT = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | VALUES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(CONTENT, TEXTS)
def test_scanning_never_raises_and_spans_are_within_their_texts(
    scanner: Scanner, to_value: ToValue, content: object, source: str
) -> None:
    value = to_value(content)
    fields = walk(value, 64)
    result = scanner.scan(fields, source)
    places = {fields.pointer(n): text for n, text in enumerate(fields.texts)} | {"/source": source}
    for finding in result.findings:
        assert 0 <= finding.start < finding.end
        if finding.pointer in places and not finding.in_key:
            assert finding.end <= max(len(text) for text in places.values())
    result.mask(value)


@settings(max_examples=200, deadline=None)
@given(TEXTS, VALUES, TEXTS)
def test_a_value_among_any_text_is_found(
    scan: Callable[..., Scan], before: str, value: str, after: str
) -> None:
    text = f"{before}\n({value})\n{after}"
    start = len(before) + 2
    result = scan(text)
    assert any(f.start <= start and f.end >= start + len(value) for f in result.findings)


@settings(max_examples=200, deadline=None)
@given(CONTENT, VALUES, st.sampled_from(["value", "key", "item", "deep"]))
def test_a_masked_copy_holds_no_value(
    scanner: Scanner, to_value: ToValue, content: object, value: str, where: str
) -> None:
    # What a neighbour calls a version is no address.
    assume(value != ADDRESS or not says(NOT_AN_ADDRESS, json.dumps(content)))
    whole: object = {
        "value": {"a": content, "b": value},
        "key": {value: content},
        "item": [content, f"so: {value}."],
        "deep": {"x": [{"y": {value: [value, content]}}]},
    }[where]
    data = to_value(whole)
    result = scanner.scan(walk(data, 64), "")
    copy = result.mask(data)
    assert value not in json_format.MessageToJson(copy, ensure_ascii=False)
    assert all(value not in finding.pointer for finding in result.findings)
    # What a submission is masked to has nothing left to find but what masking kept on purpose.
    again = scanner.scan(walk(copy, 64), "")
    assert not [f for f in again.findings if f.detector in ("payment_card", "us_ssn", "iban")]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(TEXTS | VALUES, VALUES, min_size=1, max_size=6))
def test_a_masked_copy_keeps_every_member(
    scanner: Scanner, to_value: ToValue, content: dict[str, str]
) -> None:
    data = to_value(content)
    copy = scanner.scan(walk(data, 8), "").mask(data)
    assert len(json.loads(json_format.MessageToJson(copy))) == len(content)
