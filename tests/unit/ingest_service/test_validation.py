import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from ingest_service.fields import walk
from ingest_service.validation import MAX_DEPTH, MAX_NODES, violations_of
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest


def rules_broken(request: SubmitRequest) -> list[tuple[str, str]]:
    fields = walk(request.data, MAX_DEPTH, MAX_NODES)
    return [(each.path, each.reason) for each in violations_of(request, fields).listed]


def submission(data: Any, **fields: str) -> SubmitRequest:
    return SubmitRequest(data=json_format.ParseDict(data, Value()), **fields)


def nested(levels: int) -> Any:
    data: Any = "x"
    for _ in range(levels):
        data = [data]
    return data


@pytest.mark.parametrize(
    "data",
    ["hello", "", 0, -1.5, True, [], {}, {"a": [1, {"b": None}]}, 2**53 - 1, 1 - 2**53, nested(32)],
)
def test_any_json_value_may_be_sent(data: Any) -> None:
    assert rules_broken(submission(data, source="web-1", request_id="a/b:c@d.e_f")) == []


def test_data_must_be_there() -> None:
    assert rules_broken(SubmitRequest()) == [("/data", "MISSING")]


def test_null_is_no_event() -> None:
    assert rules_broken(submission(None)) == [("/data", "NULL")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (nested(33), ("/data", "TOO_DEEP")),
        ("x" * (1024 * 1024), ("/data", "TOO_LONG")),
        ([0] * 10_000, ("/data", "TOO_MANY_VALUES")),
        ({"n": 2**53}, ("/data/n", "INEXACT_INTEGER")),
        ({"t": ["a\0b"]}, ("/data/t/0", "NUL")),
    ],
)
def test_a_broken_rule_is_named_with_its_place(data: Any, expected: tuple[str, str]) -> None:
    assert rules_broken(submission(data)) == [expected]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_must_be_finite(number: float) -> None:
    data = Value()
    data.list_value.values.add(number_value=number)
    assert rules_broken(SubmitRequest(data=data)) == [("/data/0", "NOT_FINITE")]


def test_a_value_without_a_kind_is_refused() -> None:
    data = Value()
    data.list_value.values.add()
    assert rules_broken(SubmitRequest(data=data)) == [("/data/0", "UNSET")]
    assert rules_broken(SubmitRequest(data=Value())) == [("/data", "UNSET")]


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 129, "a\n", "\0"])
def test_names_are_short_and_plain(name: str) -> None:
    assert rules_broken(submission("x", source=name)) == [("/source", "BAD_NAME")]
    assert rules_broken(submission("x", request_id=name)) == [("/request_id", "BAD_NAME")]


def test_no_description_repeats_what_was_sent() -> None:
    request = submission({"k": ["CANARY\0", 2**60]}, source="CANARY !", request_id="CANARY !")
    described = violations_of(request, walk(request.data, MAX_DEPTH, MAX_NODES)).listed
    assert len(described) == 4
    assert not any("CANARY" in each.description for each in described)
