from __future__ import annotations

import json
import math

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from detection.fields import ROOT, Fields, number_text, walk


def to_value(content: object) -> struct_pb2.Value:
    value = struct_pb2.Value()
    json_format.Parse(json.dumps(content), value)
    return value


def seen(fields: Fields) -> set[tuple[str, str, bool]]:
    return {
        (fields.pointer(index), text, fields.is_key[index])
        for index, text in enumerate(fields.texts)
    }


def test_every_key_string_and_number_is_a_text_with_its_place() -> None:
    fields = walk(to_value({"user": {"ssn": "x", "age": 7}, "list": [True, None, "y", [1.5]]}), 9)
    assert seen(fields) == {
        ("/data/user", "user", True),
        ("/data/user/ssn", "ssn", True),
        ("/data/user/ssn", "x", False),
        ("/data/user/age", "age", True),
        ("/data/user/age", "7", False),
        ("/data/list", "list", True),
        ("/data/list/2", "y", False),
        ("/data/list/3/0", "1.5", False),
    }
    assert (fields.nodes, fields.depth) == (10, 3)
    assert {fields.texts[index] for index in fields.numbers} == {"7", "1.5"}


def test_pointers_are_escaped() -> None:
    fields = walk(to_value({"a/b": {"c~d": {"": "x"}}}), 9)
    assert ("/data/a~1b/c~0d/", "x", False) in seen(fields)


def test_a_bare_value_stands_at_the_root() -> None:
    fields = walk(to_value("x"), 0)
    assert (seen(fields), fields.depth, fields.nodes) == ({("/data", "x", False)}, 0, 1)


def test_a_key_comes_right_before_its_value() -> None:
    fields = walk(to_value({str(n): f"v{n}" for n in range(50)}), 2)
    for index, is_key in enumerate(fields.is_key):
        if is_key:
            assert fields.texts[index + 1] == f"v{fields.texts[index]}"
            assert fields.places[index] == fields.places[index + 1]


def test_containers_beyond_the_depth_stay_shut() -> None:
    content = to_value({"a": [{"deep": "secret"}, "x"]})
    fields = walk(content, 2)
    assert fields.too_deep is not None
    assert fields.place_pointer(fields.containers[fields.too_deep]) == "/data/a/0"
    assert fields.depth == 2
    assert "secret" not in fields.texts and "x" in fields.texts
    assert walk(content, 3).too_deep is None
    assert walk(to_value([]), 0).too_deep == 0
    assert walk(to_value([]), 0).containers == [(ROOT, "")]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (123456789.0, "123456789"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (2.0**53, "9007199254740992"),
        (1e-7, "1e-07"),
    ],
)
def test_numbers_are_written_as_a_caller_would(number: float, text: str) -> None:
    assert number_text(number) == text


def test_numbers_json_cannot_carry_are_listed() -> None:
    value = struct_pb2.Value()
    members = value.struct_value.fields
    members["nan"].number_value = math.nan
    members["inf"].number_value = -math.inf
    members["big"].number_value = 2.0**53 + 2
    members["small"].number_value = -(2.0**60)
    members["edge"].number_value = 2.0**53 - 1
    fields = walk(value, 3)
    assert {fields.pointer(n) for n in fields.non_finite} == {"/data/nan", "/data/inf"}
    assert {fields.pointer(n) for n in fields.inexact} == {"/data/big", "/data/small"}


def test_values_of_no_kind_are_listed() -> None:
    value = struct_pb2.Value()
    value.list_value.values.add().string_value = "x"
    value.list_value.values.add()
    assert [walk(value, 3).place_pointer(place) for place in walk(value, 3).unset] == ["/data/1"]
    assert (
        walk(struct_pb2.Value(), 3).place_pointer(walk(struct_pb2.Value(), 3).unset[0]) == "/data"
    )


def test_nul_characters_are_listed() -> None:
    value = struct_pb2.Value()
    value.struct_value.fields["a\0"].string_value = "b\0"
    value.struct_value.fields["c"].string_value = "d"
    fields = walk(value, 3)
    assert sorted(fields.texts[n] for n in fields.with_nul()) == ["a\0", "b\0"]
    assert walk(to_value("plain"), 3).with_nul() == []


def test_renamed_keys_show_in_pointers() -> None:
    fields = walk(to_value({"k": {"v": "x"}}), 4)
    assert fields.pointer(2, {(0, "k"): "*"}) == "/data/*/v"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(JSON)
def test_pointers_lead_to_their_values(content: object) -> None:
    fields = walk(to_value(content), 100)
    for index, text in enumerate(fields.texts):
        place: object = {"data": content}
        key = ""
        for step in fields.pointer(index).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            place = place[int(key)] if isinstance(place, list) else place[key]  # type: ignore[index]
        if fields.is_key[index]:
            assert text == key
        else:
            assert text == (place if isinstance(place, str) else number_text(float(place)))  # type: ignore[arg-type]
