"""The bytes of values: what protobuf itself would make of them, and a clear error for the rest."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict, UserDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from sluice_client.errors import InvalidValue
from sluice_client.values import MAX_DEPTH, MAX_PATH_CHARACTERS, encode

TEXTS = st.text(st.characters(codec="utf-8"))
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=50,
)


def sent(data: object) -> Any:
    """Return what the server gets, as JSON."""
    return json_format.MessageToDict(Value.FromString(encode(data)))


@given(JSON_VALUES)
def test_the_bytes_are_those_of_protobuf(data: Any) -> None:
    expected = json_format.ParseDict(data, Value())
    found = Value.FromString(encode(data))
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 129, 16383, 16384, 2**21])
def test_lengths_are_right_where_they_get_a_byte_more(size: int) -> None:
    examples: tuple[Any, ...] = (
        "x" * size,
        {"k": "x" * size},
        {"k" * size: "v"},
        ["x" * size],
        {"k": ["é" * size]},
    )
    for data in examples:
        assert Value.FromString(encode(data)) == json_format.ParseDict(data, Value())


class Plan(Enum):
    TEAM = "team"


class Level(IntEnum):
    HIGH = 3


class Colour(StrEnum):
    RED = "red"


class Name(str):
    pass


@dataclass
class Address:
    city: str
    since: date


@dataclass
class User:
    name: str
    address: Address


class Event(BaseModel):
    at: datetime
    amount: Decimal
    password: SecretStr


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (2**53, str(2**53)),
        (-(2**53), str(-(2**53))),
        ({"n": 2**70}, {"n": str(2**70)}),
        ([2**53 - 1], [float(2**53 - 1)]),
        (Decimal("10.50"), "10.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, 3, 4, 5, 600, UTC), "2026-01-02T03:04:05.000600Z"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:00:00Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (Plan.TEAM, "team"),
        (Level.HIGH, 3),
        (Colour.RED, "red"),
        ({Colour.RED: Name("x")}, {"red": "x"}),
        (Point(1, 2), [1, 2]),
        ((1, "a"), [1, "a"]),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict({"a": 1}), {"a": 1}),
        (
            User("Ann", Address("Oslo", date(2020, 1, 1))),
            {"name": "Ann", "address": {"city": "Oslo", "since": "2020-01-01"}},
        ),
        (
            Event(at=datetime(2026, 1, 2, tzinfo=UTC), amount=Decimal("1.5"), password="x"),
            {"at": "2026-01-02T00:00:00Z", "amount": "1.5", "password": "**********"},
        ),
        (None, None),
        ({}, {}),
        ([], []),
        ("", ""),
    ],
    ids=repr,
)
def test_other_values_have_their_json(data: object, expected: object) -> None:
    assert sent(data) == expected


class Unprintable:
    def __repr__(self) -> str:
        raise AssertionError("a value is never printed")


def nested(levels: int) -> Any:
    data: Any = "x"
    for _ in range(levels):
        data = {"a": data}
    return data


def cycle() -> Any:
    data: list[Any] = []
    data.append(data)
    return data


@pytest.mark.parametrize(
    ("data", "path", "problem"),
    [
        (math.nan, "/data", "NaN"),
        ({"a": [1, math.inf]}, "/data/a/1", "NaN and infinities"),
        (Decimal("NaN"), "/data", "NaN"),
        ({"a": Unprintable()}, "/data/a", "Unprintable"),
        ({"a/b~": b"x"}, "/data/?", "bytes"),
        ({"line_2": {"jane.doe@example.com": b"x"}}, "/data/line_2/?", "bytes"),
        ({1, 2}, "/data", "set"),
        ({1: 2}, "/data", "key"),
        ("\ud800", "/data", "surrogates"),
        ({"a": "\ud800"}, "/data/a", "surrogates"),
        ({"\ud800": 1}, "/data/?", "surrogates"),
        (datetime(2026, 1, 1), "/data", "time zone"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "/data", "years"),
        pytest.param(10**5000, "/data", "too long", id="5000 digits"),
        (MagicMock(), "/data", "MagicMock"),
        (Event, "/data", "has no JSON"),
        (nested(MAX_DEPTH + 1), "/data" + "/a" * MAX_DEPTH, "nested"),
        (nested(200), "/data" + "/a" * MAX_DEPTH, "nested"),
        (cycle(), "/data" + "/0" * MAX_DEPTH, "nested"),
    ],
)
def test_what_has_no_json_is_named_by_its_path(data: object, path: str, problem: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        encode(data)
    assert caught.value.path == path
    assert problem in caught.value.problem


def test_the_deepest_value_goes() -> None:
    assert Value.FromString(encode(nested(MAX_DEPTH))).HasField("struct_value")


def test_a_path_is_never_long() -> None:
    with pytest.raises(InvalidValue) as caught:
        encode({"k" * 10_000_000: {1, 2}})
    assert len(str(caught.value)) < MAX_PATH_CHARACTERS + 100


def test_a_dump_that_fails_shows_nothing_of_the_model() -> None:
    class Broken:
        def model_dump(self, mode: str) -> None:
            raise ValueError("secret")

    with pytest.raises(InvalidValue) as caught:
        encode(Broken())
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_keys_that_were_met_once_are_not_kept_for_ever() -> None:
    from sluice_client import values

    for number in range(3 * values.MAX_KEYS):
        assert sent({f"key {number}": 1}) == {f"key {number}": 1}
    assert len(values._keys) <= values.MAX_KEYS
    assert sys.getsizeof(json.dumps(list(values._keys))) < 2**20
