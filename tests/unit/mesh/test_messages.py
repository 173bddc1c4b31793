from __future__ import annotations

from typing import Any, cast

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from mesh.messages import (
    LENGTH_DELIMITED,
    cut_lists,
    first_content,
    length_delimited_field,
)
from sluice.alert.v1.alert_service_pb2 import Alert
from sluice.verdict.v1.verdict_pb2 import Violation


def test_lists_that_fit_stay_and_are_counted() -> None:
    alert = Alert()
    for _ in range(3):
        alert.findings.add(detector="us_ssn")
    assert not cut_lists(alert, 1000)
    assert (len(alert.findings), alert.finding_count, alert.violation_count) == (3, 3, 0)


def test_lists_are_cut_to_their_share_and_say_how_many_there_were() -> None:
    alert = Alert(finding_count=7)
    for number in range(1000):
        alert.findings.add(detector="us_ssn", start=number)
        alert.violations.add(path="/data" * 100)
    assert cut_lists(alert, 10_000)
    assert 100 < len(alert.findings) < 1000
    assert len(alert.violations) == 9
    assert (alert.finding_count, alert.violation_count) == (1000, 1000)


def test_an_element_that_is_too_large_goes() -> None:
    alert = Alert()
    alert.violations.add(path="x" * 10_000)
    assert cut_lists(alert, 1000)
    assert (len(alert.violations), alert.violation_count) == (0, 1)


@given(
    st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 20_000)), min_size=1, max_size=3)
)
def test_fields_are_what_protobuf_parses(fields: list[tuple[int, int]]) -> None:
    data = b"".join(length_delimited_field(number, b"x" * size) for number, size in fields)
    found = cast(Any, UnknownFieldSet(Empty.FromString(data)))
    assert [(each.field_number, len(each.data)) for each in found] == fields
    assert {each.wire_type for each in found} == {LENGTH_DELIMITED}


@given(st.integers(1, 15), st.integers(0, 40_000), st.binary())
def test_the_first_content_is_found(number: int, size: int, behind: bytes) -> None:
    start, end = first_content(length_delimited_field(number, b"x" * size) + behind)
    assert (start, end) == (len(length_delimited_field(number, b"x" * size)) - size, start + size)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_it_is_found_behind_a_length_of_any_size(size: int) -> None:
    content = bytes(2 ** (7 * size - 6))
    start, end = first_content(length_delimited_field(1, content))
    assert (start, end - start) == (1 + size, len(content))


@given(st.lists(st.integers(0, 400)), st.integers(0, 5), st.integers(0, 2000))
def test_a_cut_list_is_the_beginning_that_fits(sizes: list[int], count: int, most: int) -> None:
    violations = [Violation(path="x" * size) for size in sizes]
    alert = Alert(violations=violations, violation_count=count)
    is_cut = cut_lists(alert, most)
    kept = list(alert.violations)
    assert kept == violations[: len(kept)]
    assert is_cut == (len(kept) < len(violations))
    assert Alert(violations=kept).ByteSize() <= most
    assert alert.violation_count == max(count, len(violations))
    # Once more, there is nothing left to do.
    assert not cut_lists(alert, most)
    assert alert.violation_count == max(count, len(violations))
