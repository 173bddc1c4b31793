"""Inputs that are odd by their measure: many findings, long keys, deep values, large batches, and
broken shape beside personal data. What each must come to is known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Value
from hypothesis import strategies as st

from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest
from tests.fuzz.inputs import list_value, struct_value

LONGEST_KEY = 1024
DEEPEST = 32

STAFF = r"EMP-\S+"
"""A pattern as people write them: it must not care what stands beside the value."""

PROBE = "which policy is this"


def policy(action: str) -> str:
    """Return a policy by which all that is found meets this action."""
    return (
        f"version: 1\naction: {action}\nkeywords:\n  - {PROBE} {action}\n"
        f"patterns:\n  - name: staff\n    pattern: '{STAFF}'\n"
    )


ACTIONS = ("reject", "redact", "tag")


@dataclass(frozen=True)
class Odd:
    """A submission and what is known of it."""

    submission: SubmitRequest
    planted: tuple[str, ...]
    """What every policy finds in it: it may be in no answer, alert or log, and in no row but one of
    a submission that was accepted as it is."""
    is_broken: bool | None = False
    """Whether it breaks a rule of shape; None when that is not for this test to know."""


def _ssn(numbers: tuple[int, int, int]) -> str:
    return "{:03}-{:02}-{:04}".format(*numbers)


def _card(number: int) -> str:
    digits = f"4{number:014}"
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(digits))
    return digits + str(-total % 10)


ssns = st.tuples(st.integers(200, 665), st.integers(10, 98), st.integers(1001, 9998)).map(_ssn)
plants = st.one_of(
    ssns,
    ssns,
    st.integers(10**12, 10**14 - 1).map(_card),
    st.integers(10_000, 99_999).map(lambda number: f"EMP-{number}"),
)


def _text(content: str) -> Value:
    return Value(string_value=content)


def _odd(
    value: Value | None, planted: Sequence[str], *, source: str = "", is_broken: bool | None = False
) -> Odd:
    return Odd(SubmitRequest(data=value, source=source), tuple(planted), is_broken)


many = st.builds(
    lambda plant, count: _odd(list_value([_text(plant)] * count), [plant]),
    ssns,
    st.sampled_from([1, 255, 256, 257, 1000, 2000]),
)


def _long_key(plant: str, length: int, count: int) -> Odd:
    value = struct_value({"k" * length: list_value([_text(plant)] * count)})
    return _odd(value, [plant], is_broken=length > LONGEST_KEY)


long_keys = st.builds(
    _long_key, ssns, st.sampled_from([1, 1000, 1024, 1025, 8000, 50_000]), st.integers(1, 250)
)


def _planted_keys(keys: list[str], is_broken: bool) -> Odd:
    value = Value(number_value=math.nan) if is_broken else _text("fine")
    for key in keys:
        value = struct_value({key: value})
    return _odd(value, keys, is_broken=is_broken)


planted_keys = st.builds(
    _planted_keys, st.lists(ssns, min_size=1, max_size=4, unique=True), st.booleans()
)


def _deep(plant: str, depth: int, in_keys: bool) -> Odd:
    value = _text(plant)
    for _ in range(depth):
        value = struct_value({plant: value}) if in_keys else list_value([value])
    # Which level is the last is for the unit tests.
    near = abs(depth - DEEPEST) <= 2
    return _odd(value, [plant], is_broken=None if near else depth > DEEPEST)


deep = st.builds(_deep, ssns, st.integers(1, 30), st.booleans()) | st.builds(
    _deep, ssns, st.integers(28, 45), st.just(False)
)


def _beside_broken(plant: str, broken: Value | None, place: str) -> Odd:
    if place == "source":
        return _odd(broken, [plant], source=plant, is_broken=True)
    broken = broken or Value()
    if place == "key":
        return _odd(struct_value({plant: broken}), [plant], is_broken=True)
    return _odd(list_value([_text(f"about {plant}"), broken]), [plant], is_broken=True)


beside_broken = st.builds(
    _beside_broken,
    ssns,
    st.sampled_from(
        [
            None,
            Value(),
            Value(number_value=math.inf),
            Value(number_value=2.0**60),
            _text("a\0b"),
        ]
    ),
    st.sampled_from(["source", "key", "value"]),
)


def _in_source(plant: str) -> Odd:
    return _odd(_text("fine"), [plant], source=plant)


def _among_text(plant: str, before: str, after: str) -> Odd:
    return _odd(struct_value({"note": _text(f"{before} {plant} {after}".strip())}), [plant])


words = st.lists(
    st.sampled_from(["the", "order", "was", "paid", "late", "Käse", "☃", "again"]), max_size=6
).map(" ".join)
among_text = st.builds(_among_text, plants, words, words)

harmless = st.builds(lambda text: _odd(_text(text), []), words)

odd_submissions: st.SearchStrategy[Odd] = st.one_of(
    many, long_keys, planted_keys, deep, beside_broken, ssns.map(_in_source), among_text, harmless
)

odd_batches = st.lists(odd_submissions, min_size=1, max_size=20)


@dataclass(frozen=True)
class LargeBatch:
    """So many submissions that are taken, and so many that are refused for a long field."""

    accepted: int
    refused: int
    key: str
    over_rest: bool

    def submissions(self) -> list[dict[str, Any]]:
        """Return them as JSON."""
        taken = [{"data": number} for number in range(self.accepted)]
        # An error names the field of each finding, or of as many as it has room for.
        return taken + [{"data": {self.key: ["536-22-8724"] * 16}}] * self.refused


def large_batches(count: int, start: int) -> list[LargeBatch]:
    """Return so many batches, the first of them as large as a body of 4 MiB allows."""
    chosen = random.Random(start)
    batches = [LargeBatch(2500, 2200, "k" * 100, over_rest=False)]
    while len(batches) < count:
        accepted = chosen.randint(0, 2500)
        length = chosen.choice([1, 100, 1000, LONGEST_KEY])
        refused = min(2200, (4_000_000 - 30 * accepted) // (length + 300))
        batches.append(LargeBatch(accepted, refused, "k" * length, len(batches) % 2 == 1))
    return batches


# What patterns begin with, and what they may go on with for long.
BEGINNINGS = [
    "", 'password="', "secret=", "postgres://", "-----BEGIN ", "Bearer ", "AKIA", "4111 ", "1-",
    "a@", "1.", "::", "+1 (", "DE89 ", "eyJ", "https://", "passport ", "born ", "0x", "bc1", "<",
    "EMP-", "api_key: '", "xoxb-",
]  # fmt: skip
UNITS = [
    "<", "0", "0-", "0 ", ". ", "@a", ":", "/", "a", '"', "'", " ", "a.", "1.", "-", "a@", "00:",
    "password=", "Aa1", "\\", "=", "(", "\t", "a:b@", "0,", "EMP-",
]  # fmt: skip

WORST = ('password="', "<")
"""Took seconds once."""
REPEATED_BYTES = 64 * 1024


def repetitions(count: int, start: int) -> list[str]:
    """Return so many texts, each a beginning that goes on and on until a quote ends it; all there
    are, or fewer.
    """
    pairs = [(beginning, unit) for beginning in BEGINNINGS for unit in UNITS]
    random.Random(start).shuffle(pairs)
    return [
        (beginning + unit * REPEATED_BYTES)[:REPEATED_BYTES] + '"'
        for beginning, unit in [WORST, *pairs][:count]
    ]
