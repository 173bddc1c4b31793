"""The quick look before the judgement: it may send on too much, and never let through too much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from ingest_service.gate import Gate
from ingest_service.judgement import CLEAN
from ingest_service.judging import Judge
from ingest_service.submission import Submission
from ingest_service.validation import MAX_BYTES
from mesh.messages import length_delimited_field
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

GATE = Gate(None)

CAUGHT = [
    "my ssn is 123-45-6789",
    "4111 1111 1111 1111",
    "write to jane.doe@example.org",
    "AKIAIOSFODNN7EXAMPLX",
    "password: hunter2trustno1",
]

texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from([*CAUGHT, "hello", "1234", "5678", "9012", "ssn", "123456789", "\u0661\u0662"]),
)
leaves = st.one_of(
    texts,
    st.booleans(),
    st.none(),
    st.floats(),
    st.integers(-(2**60), 2**60),
    st.sampled_from([4111111111111111, 123456789]),
)
parts = st.lists(
    st.one_of(
        st.sampled_from(
            [
                4539,
                "4539",
                1488,
                3343,
                "6461",
                536,
                "536",
                22,
                5587,
                "22",
                45391488,
                33436461,
                45,
                39,
            ]
        ),
        st.sampled_from([{}, [], None, True, "", "a", 7, 1.5, -3]),
    ),
    min_size=2,
    max_size=9,
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(texts, inner, max_size=6)),
    max_leaves=20,
)


def value(data: Any) -> Value:
    if isinstance(data, str):
        return Value(string_value=data)
    if isinstance(data, bool):
        return Value(bool_value=data)
    if data is None:
        return Value(null_value=NULL_VALUE)
    if isinstance(data, (int, float)):
        return Value(number_value=data)
    if isinstance(data, list):
        return Value(list_value=ListValue(values=[value(each) for each in data]))
    struct = Struct()
    for key, each in data.items():
        struct.fields[key].CopyFrom(value(each))
    return Value(struct_value=struct)


def are_clean(*messages: SubmitRequest) -> bool:
    return GATE.are_clean(list(map(Submission, messages)))


@given(st.lists(st.builds(SubmitRequest, data=values.map(value), source=texts, request_id=texts)))
def test_what_passes_has_nothing_in_it(submissions: list[SubmitRequest]) -> None:
    if are_clean(*submissions):
        for submission in submissions:
            judgement = GATE.judge(submission)
            assert judgement == CLEAN


@given(st.one_of(parts, st.dictionaries(st.sampled_from(["ssn", "card", "x"]), parts)))
def test_what_passes_is_no_value_taken_apart(content: Any) -> None:
    submission = SubmitRequest(data=value(content))
    if are_clean(submission):
        assert not GATE.judge(submission).refusal


def test_pairs_of_digits_are_looked_at() -> None:
    pairs = [int("4539148833436461"[n : n + 2]) for n in range(0, 16, 2)]

    assert not are_clean(SubmitRequest(data=value(pairs)))


@pytest.mark.parametrize("card", [["4111", "1111", "1111", "1111"], [4111, 1111, 1111, 1111]])
@pytest.mark.parametrize("before", [["long enough to be none of it"], ["word"] * 40])
def test_what_a_list_parts_from_the_rest_of_a_list_is_looked_at(
    card: list[Any], before: list[Any]
) -> None:
    submission = SubmitRequest(data=value([*before, ["of its own"], *card]))

    assert GATE.judge(submission).refusal
    assert not are_clean(submission)


def test_a_list_of_objects_beside_a_number_passes() -> None:
    assert are_clean(SubmitRequest(data=value([7, *[{"name": "red"}] * 40])))


@pytest.mark.parametrize("caught", CAUGHT)
def test_one_among_many_is_caught(caught: str) -> None:
    plain = [SubmitRequest(data=value(f"order {number}")) for number in range(99)]

    assert are_clean(*plain)
    assert not are_clean(*plain, SubmitRequest(data=value({"note": caught})))


@pytest.mark.parametrize(
    "data",
    [
        None,
        float("nan"),
        2.0**53 + 2,
        ["123", "45", "6789"],
        ["4111", True, "1111", "1111", "1111"],
        [Value()],
        "nul \0 character",
        "nul \0 caractère",
        {"caractère \0": 1},
    ],
)
def test_what_needs_a_closer_look_is_judged(data: Any) -> None:
    if isinstance(data, list) and isinstance(data[0], Value):
        submission = SubmitRequest(data=Value(list_value=ListValue(values=data)))
    else:
        submission = SubmitRequest(data=value(data))

    assert not are_clean(submission)


@pytest.mark.parametrize("depth", [31, 32, 33])
def test_depth_is_held(depth: int) -> None:
    data: Any = "x"
    for _ in range(depth):
        data = [data]
    submission = SubmitRequest(data=value(data))

    assert are_clean(submission) is not bool(GATE.judge(submission).violation_count)


def test_usual_submissions_pass() -> None:
    usual = {
        "event": "order placed",
        "count": 3,
        "price": 9.25,
        "tags": ["red", "blue"],
        "gift": True,
    }

    assert are_clean(json_format.ParseDict({"data": usual}, SubmitRequest()))


def test_what_is_long_beside_its_data_is_judged() -> None:
    message = SubmitRequest(data=value("fine"))
    message.MergeFromString(length_delimited_field(100, bytes(MAX_BYTES)))

    (judgement,) = asyncio.run(Judge(GATE).judge_all([Submission(message)]))

    assert [each.reason for each in judgement.violations] == ["TOO_LONG"]


changes = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from([0, 1, 2]), st.binary(max_size=4)), max_size=4
)
"""Where in the bytes, how many of them go, and what comes in their place."""


@given(st.lists(values, max_size=2), changes)
def test_nothing_passes_however_it_was_put_on_the_wire(contents: list[Any], made: Any) -> None:
    # Joined, overlong, out of order, beside what is unknown.
    wire = b"".join([SubmitRequest(data=value(each)).SerializeToString() for each in contents])
    for position, removed, added in made:
        start = position % (len(wire) + 1)
        wire = wire[:start] + added + wire[start + removed :]
    try:
        message = SubmitRequest.FromString(wire)
    except DecodeError:
        return
    submission = Submission(message)
    assert submission.data == message.data.SerializeToString()
    if GATE.are_clean([submission]):
        assert GATE.judge(message) == CLEAN


async def test_small_submissions_that_are_judged_leave_others_their_turn() -> None:
    judge = Judge(GATE)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    sent = [Submission(SubmitRequest(data=Value(string_value=CAUGHT[0]))) for _ in range(320)]
    await judge.judge_all(sent)
    running.cancel()
    judge.close()
    assert turns >= 320 // 33
