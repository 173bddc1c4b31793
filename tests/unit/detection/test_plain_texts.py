"""The texts at once are those of the walk, or none where a rule of shape may be broken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from detection.fields import walk
from detection.plain_texts import plain_texts

DEPTH, NODES = 32, 10_000

scalars = st.one_of(
    st.text(max_size=200),
    st.booleans(),
    st.none(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
)
contents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=60,
)


def value(content: Any) -> Value:
    return json_format.Parse(json.dumps(content), Value())


def wire(content: Any) -> bytes:
    return value(content).SerializeToString()


def tags(*, unknown: bytes) -> Value:
    """Return {"a": "x"} whose "x" has further fields."""
    text = b"\x1a\x01x" + unknown
    member = b"\x0a\x01a\x12" + bytes([len(text)]) + text
    struct = b"\x0a" + bytes([len(member)]) + member
    return Value.FromString(b"\x2a" + bytes([len(struct)]) + struct)


@given(contents)
def test_they_are_those_of_the_walk(content: Any) -> None:
    data = value(content)
    texts = plain_texts(data.SerializeToString(), DEPTH, NODES)
    if texts is not None:
        fields = walk(data, DEPTH, NODES)
        assert set(texts) == set(fields.texts)
        assert not (fields.unread or fields.unset or fields.non_finite or fields.inexact)


@pytest.mark.parametrize(
    "content",
    [
        {"event": "order placed", "count": 3, "items": [{"name": "ink", "tags": ["red", None]}]},
        {"text": "", "empty": {}, "none": [], "sure": True, "long": "x" * 300},
        [[1.5, -2, 7], ["a", ["b", {"c": "d" * 200}]], {}],
        {"metrics": [{"at": number, "values": [number * 0.37, 2]} for number in range(300)]},
        ["word"] * 3000,
        True,
        7,
        0.1,
    ],
)
def test_what_is_in_order_is_read(content: Any) -> None:
    data = value(content)
    texts = plain_texts(data.SerializeToString(), DEPTH, NODES)
    assert texts is not None
    assert set(texts) == set(walk(data, DEPTH).texts)


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 129, 255, 256, 257, 20_000])
@pytest.mark.parametrize("character", ["x", "é"])
def test_a_text_is_read_whatever_its_length(length: int, character: str) -> None:
    text = character * length
    assert plain_texts(wire(text), DEPTH, NODES) == [text]
    behind = wire(text) + b"\x48\x01"
    assert plain_texts(behind, DEPTH, NODES) is None


def test_a_key_that_comes_often_is_read_once() -> None:
    texts = plain_texts(wire([{"name": "red", "count": 7}] * 300), DEPTH, NODES)
    assert texts is not None
    assert (texts.count("name"), texts.count("red"), texts.count("7")) == (1, 300, 1)


@pytest.mark.parametrize("content", [None, ["a", None], {"a": None}])
def test_only_the_whole_may_not_be_null(content: Any) -> None:
    assert (plain_texts(wire(content), DEPTH, NODES) is None) is (content is None)


def test_nothing_is_left_to_the_walk() -> None:
    assert plain_texts(b"", DEPTH, NODES) is None


def test_as_many_values_as_may_be_are_read_and_no_more() -> None:
    # They are not counted: what is short cannot hold many, since each takes four bytes.
    assert plain_texts(wire([{}] * 99), DEPTH, 101) is not None
    assert plain_texts(wire([{}] * 101), DEPTH, 101) is None
    assert plain_texts(wire({str(n): n for n in range(10_000)}), DEPTH, NODES) is None


@pytest.mark.parametrize("kind", ["object", "list"])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_depth_is_counted_as_the_walk_counts_it(kind: str, depth: int) -> None:
    content: Any = "x"
    for _ in range(depth):
        content = {"a": content} if kind == "object" else [content]
    data = value({"beside": 1, "deep": content})
    assert (plain_texts(data.SerializeToString(), 4, NODES) is None) is (
        walk(data, 4).too_deep is not None
    )


def test_a_value_without_a_kind_is_left_to_the_walk() -> None:
    data = value({"a": "x", "b": {"c": "y"}})
    data.struct_value.fields["b"].struct_value.fields["unset"].Clear()
    assert plain_texts(data.SerializeToString(), DEPTH, NODES) is None
    data = value({"a": ["x", "y"]})
    data.struct_value.fields["a"].list_value.values.add()
    assert plain_texts(data.SerializeToString(), DEPTH, NODES) is None


@pytest.mark.parametrize(
    "unknown",
    [
        b"\x12\x08" + b"\0\0\0\0\0\0\x08\x40",  # a packed number, which gives a value no kind
        b"\x12\x01\x11",
        b"\x48\x01",
        b"\x4a\x09123456789",
        b"\x0a\x02\x08\x01",
        b"\x22\x01\x01",
    ],
)
def test_fields_that_do_not_belong_there_are_left_to_the_walk(unknown: bytes) -> None:
    data = tags(unknown=unknown)
    assert walk(data, DEPTH).texts == ["a", "x"]
    assert plain_texts(data.SerializeToString(), DEPTH, NODES) is None
    assert plain_texts(tags(unknown=b"").SerializeToString(), DEPTH, NODES) == ["x", "a"]


@pytest.mark.parametrize("content", [["12 34", "x"], {"a": ["12 34"]}, {"a": "x"}])
@pytest.mark.parametrize("unknown", [b"\x12\x02\x08\x01", b"\x12\x08" + bytes(8), b"\x48\x01"])
def test_so_are_those_beside_the_outermost_value(content: Any, unknown: bytes) -> None:
    data = Value.FromString(value(content).SerializeToString() + unknown)
    assert walk(data, DEPTH).texts == walk(value(content), DEPTH).texts
    assert plain_texts(data.SerializeToString(), DEPTH, NODES) is None


def test_keys_that_may_be_too_long_are_left_to_the_walk() -> None:
    assert plain_texts(wire({"k" * 1025: 1}), DEPTH, NODES) is None
    assert plain_texts(wire({"k" * 1024: 1}), DEPTH, NODES) is not None
    deep: Any = 1
    for _ in range(5):
        deep = {"k" * 1000: deep}
    assert plain_texts(wire(deep), DEPTH, NODES) is None
