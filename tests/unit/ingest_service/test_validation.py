import math
import tracemalloc
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from detection.fields import walk
from detection.plain_texts import plain_texts
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


def path_of(*lengths: int) -> Any:
    data: Any = "x"
    for length in reversed(lengths):
        data = {"k" * length: data}
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
        ({"k" * 1025: 1}, ("/data", "KEY_TOO_LONG")),
        (["x", {"a": {"é" * 1025: 1}}], ("/data", "KEY_TOO_LONG")),
        (path_of(1024, 1024, 1024, 1024, 1), ("/data", "PATH_TOO_LONG")),
        ([path_of(*[129] * 31)], None),
        (path_of(*[128] * 32), None),
        (path_of(1024, 1024, 1024, 1024), None),
        ({str(n): {"k" * 1024: 1} for n in range(20)}, None),
    ],
)
def test_a_broken_rule_is_named_with_its_place(data: Any, expected: tuple[str, str] | None) -> None:
    request = submission(data)
    assert rules_broken(request) == ([expected] if expected else [])
    # The quick look must not let through what the closer one refuses; it may be more careful.
    assert (
        expected is None
        or plain_texts(request.data.SerializeToString(), MAX_DEPTH, MAX_NODES) is None
        or (
            expected[1] in ("TOO_LONG", "NUL")  # told by the size and by the scanner
        )
    )


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


KINDS: dict[str, Any] = {
    "unset": lambda value: None,
    "not finite": lambda value: setattr(value, "number_value", math.nan),
    "inexact": lambda value: setattr(value, "number_value", 2.0**60),
    "NUL": lambda value: setattr(value, "string_value", "\0"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["k", "k" * 1000, "机" * 1000, "~" * 1000])
def test_of_many_broken_rules_a_few_are_listed_and_all_counted(kind: str, key: str) -> None:
    data = Value()
    for _ in range(9_000):
        KINDS[kind](data.struct_value.fields[key].list_value.values.add())
    request = SubmitRequest(data=data)
    fields = walk(request.data, MAX_DEPTH, MAX_NODES)
    tracemalloc.start()
    broken = violations_of(request, fields)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert broken.count == 9_000
    assert 1 <= len(broken.listed) <= 100
    assert sum(len(each.path.encode()) for each in broken.listed) <= 20 * 1024
    assert peak < 1_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_read_than_may_be_sent(kind: str) -> None:
    data = Value()
    for _ in range(300_000):
        KINDS[kind](data.list_value.values.add())
    request = SubmitRequest(data=data)
    tracemalloc.start()
    fields = walk(request.data, MAX_DEPTH, MAX_NODES)
    broken = violations_of(request, fields)
    assert plain_texts(request.data.SerializeToString(), MAX_DEPTH, MAX_NODES) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fields.unread
    assert "TOO_MANY_VALUES" in [each.reason for each in broken.listed]
    assert peak < 10_000_000
