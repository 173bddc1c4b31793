"""Every value of OpenTelemetry is converted to what JSON says of it, by whichever way it goes."""

import base64
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from detection.fields import MAX_SAFE_INTEGER, walk
from ingest_service.otlp.values import MAX_LEVELS, Broken, any_value, attribute
from ingest_service.validation import MAX_BYTES, MAX_DEPTH, MAX_NODES
from mesh.messages import length_delimited_field

TEXTS = st.text(max_size=200)
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 20_000)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=5) | st.lists(st.tuples(TEXTS, inner), max_size=5).map(tuple)
    ),
    max_leaves=20,
)
"""Python's values; a tuple of pairs is a list of keys and values."""


def any_of(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
    made = AnyValue()
    if isinstance(value, list):
        made.array_value.values.extend(map(any_of, value))
        made.array_value.SetInParent()
    else:
        made.kvlist_value.values.extend(KeyValue(key=k, value=any_of(v)) for k, v in value)
        made.kvlist_value.SetInParent()
    return made


def json_of(value: Any) -> Any:
    """Return what the data of a submission says of such a value."""
    match value:
        case None | bool() | str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case int() | float():
            return value if abs(value) <= MAX_SAFE_INTEGER else repr(value)
        case list():
            return [json_of(each) for each in value]
    return {key: json_of(each) for key, each in value}


def read(wire: bytes) -> Any:
    return json_format.MessageToDict(Value.FromString(wire))


def texts_of(wire: bytes) -> set[str]:
    """Return all texts of a Value, as a judgement sees them."""
    return set(walk(Value.FromString(wire), MAX_DEPTH).texts)


@given(VALUES)
def test_a_value_is_what_json_says_of_it(value: Any) -> None:
    wire, texts, _ = any_value(any_of(value).SerializeToString())
    assert read(wire) == json_of(value)
    if texts is not None:
        assert texts_of(wire) <= set(texts)


@given(st.text(max_size=130), VALUES)
def test_an_attribute_is_an_entry_of_an_object(key: str, value: Any) -> None:
    sent = KeyValue(key=key, value=any_of(value))
    wire, texts, _ = attribute(sent.SerializeToString())
    struct = Struct.FromString(wire)
    assert json_format.MessageToDict(struct) == {key: json_of(value)}
    if texts is not None:
        assert texts_of(Value(struct_value=struct).SerializeToString()) <= set(texts)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_attribute_are_never_taken_for_one(wire: bytes) -> None:
    try:
        made, _, _ = attribute(wire)
    except Broken:
        return
    expected = KeyValue.FromString(wire)
    assert Struct.FromString(made).fields.keys() == {expected.key}


@pytest.mark.parametrize(
    "wire",
    [
        b"\x0a\x01\xff\x12\x03\x0a\x01a",
        b"\x0a\x01a\x12\x03\x0a\x01\xff",
        b"\x0a\x01\xff\x12\x02\x18\x01",
        b"\x0a\x01a\x12\x7f",
        b"\x0a",
        b"\xff",
    ],
)
def test_what_is_damaged_is_broken(wire: bytes) -> None:
    with pytest.raises(Broken) as caught:
        attribute(wire)
    assert caught.value.rule.reason == "UNDECODABLE"


@pytest.mark.parametrize("wire", [b"\x0a\x01\xff", b"\x0a\x05a", b"\x2a\x03\x0a\x09x"])
def test_a_damaged_value_is_broken(wire: bytes) -> None:
    with pytest.raises(Broken) as caught:
        any_value(wire)
    assert caught.value.rule.reason == "UNDECODABLE"


def nested(levels: int, *, lists: bool) -> bytes:
    wire = AnyValue(string_value="deep").SerializeToString()
    for _ in range(levels):
        if lists:
            wire = length_delimited_field(5, length_delimited_field(1, wire))
        else:
            member = b"\x0a\x01k" + length_delimited_field(2, wire)
            wire = length_delimited_field(6, length_delimited_field(1, member))
    return wire


@pytest.mark.parametrize("lists", [True, False])
def test_levels_are_bounded(lists: bool) -> None:
    wire, _, _ = any_value(nested(MAX_LEVELS, lists=lists))
    assert texts_of(wire) >= {"deep"}
    for levels in (MAX_LEVELS + 1, 32, 40, 100, 1000):
        with pytest.raises(Broken) as caught:
            any_value(nested(levels, lists=lists))
        assert caught.value.rule.reason in ("TOO_DEEP", "UNDECODABLE")


def test_many_values_and_many_bytes_are_bounded() -> None:
    made = any_of([True] * (MAX_NODES - 1)).SerializeToString()
    _, _, nodes = any_value(made)
    assert nodes == MAX_NODES
    with pytest.raises(Broken) as caught:
        any_value(any_of([True] * MAX_NODES).SerializeToString())
    assert caught.value.rule.reason == "TOO_MANY_VALUES"
    with pytest.raises(Broken) as caught:
        any_value(any_of("x" * MAX_BYTES).SerializeToString())
    assert caught.value.rule.reason == "TOO_LONG"
