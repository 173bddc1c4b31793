from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache

import pytest
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import PolicyError, Scan, Scanner, parse_policy
from detection.fields import ROOT, Fields, walk

ToValue = Callable[[object], struct_pb2.Value]


def scan(policy: str, content: struct_pb2.Value) -> Scan:
    return Scanner(parse_policy(policy)).scan(walk(content, 16), "")


def detectors(result: Scan) -> list[str]:
    return [finding.detector for finding in result.findings]


PATTERNS = [
    (r"EMP-\S+", "EMP-77", ["EMP 77"]),
    (r"[^,]+", "a b", [",,"]),
    (r"\D{4}", "abcd", ["abc1", "123 456"]),
    (r".+", "x", [""]),
    (r"(?s).+", "x\ny", [""]),
    (r"^EMP-[0-9]+$", "EMP-77", ["EMP-77x", "an EMP-77"]),
    (r"^EMP-[0-9]+$", "to\nEMP-77\n", ["to EMP-77\n"]),
    (r"\AEMP-[0-9]+\z", "EMP-77", ["to\nEMP-77"]),
    (r"(?-m)^EMP-[0-9]+$", "EMP-77", ["to\nEMP-77"]),
    (r"^a|b$", "ax", ["xa", "bx"]),
    (r"\bfoo\b", "foo", ["food"]),
    (r"a\sb", "a\nb", ["ab"]),
    (r"[\x00-\x1f]|x\s*$", "x", ["y"]),
    (r"[^\x00-\x7F]", "机", ["a"]),
    (r"(?i)müller", "MÜLLER", ["mill"]),
    ("Mu\u0308ller", "Müller", ["Miller"]),
    (r"[éè]x", "ex", ["éy"]),
    (r"(?i)İzmir", "izmir", ["zmir"]),
    (r"EMP-([0-9]*)", "EMP-", ["EMP"]),
    (r"\Q.*\E", ".*", ["ab"]),
    (r"[^b]*b", "ab", ["a"]),
]


@pytest.mark.parametrize(("pattern", "example", "others"), PATTERNS)
def test_a_pattern_matches_as_its_author_expects(
    to_value: ToValue, pattern: str, example: str, others: list[str]
) -> None:
    examples = {"name": "own", "pattern": pattern, "matches": [example], "not": others}
    scanner = Scanner(parse_policy(json.dumps({"patterns": [examples]})))
    contents: list[object] = [
        example,
        [example],
        ["", example, ""],
        {"k": [*others, example, *others]},
        {example: 1},
        [1.5, example, "٣"],  # what is not ASCII is folded, and found another way
    ]
    for content in contents:
        assert "own" in detectors(scanner.scan(walk(to_value(content), 8), ""))
    contents = [*others, others, {"": others}]
    for content in contents:
        assert detectors(scanner.scan(walk(to_value(content), 8), "")) == []


def test_a_finding_of_a_pattern_is_where_it_was_found(to_value: ToValue) -> None:
    policy = "patterns: [{name: own, pattern: '^EMP-([0-9]+)$'}, {name: any, pattern: '[^,]+'}]"
    content = to_value({"k,": ["é EMP-1", "EMP-22", ",x,yé"]})
    found = [(f.detector, f.pointer, f.start, f.end) for f in scan(policy, content).findings]
    assert sorted(found) == [
        ("any", "/data/**", 0, 1),
        ("any", "/data/**/0", 0, 7),
        ("any", "/data/**/1", 0, 6),
        ("any", "/data/**/2", 1, 2),
        ("any", "/data/**/2", 3, 5),
        ("own", "/data/**/1", 4, 6),
    ]


@pytest.mark.parametrize("policy", ["[^,]+", "^x$", "(?s).{1,9}", r"\D{4}"])
def test_own_patterns_take_time_in_proportion(to_value: ToValue, policy: str) -> None:
    scanner = Scanner(parse_policy(json.dumps({"patterns": [{"name": "a", "pattern": policy}]})))

    def seconds(count: int) -> float:
        fields = walk(to_value(["x"] * count + ["y" * 20 * count]), 4)
        begun = time.process_time()
        scanner.scan(fields, "")
        return time.process_time() - begun

    few = min(seconds(1_000) for _ in range(3))
    assert min(seconds(8_000) for _ in range(3)) < 8 * 4 * few + 0.05


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        ("matches: [EMP-12, hunter2]", "own does not find one of its `matches`"),
        ("not: [EMP-x, 'hunter2 EMP-12']", "own finds one of its `not`"),
        ("minimum: 3", "Extra inputs"),
        ("matches: hunter2", "Input should be a valid tuple"),
        ("confidence: low, matches: [EMP-12]", "own does not find one of its `matches`"),
        ("allow: {values: [emp-12]}, matches: [EMP-12]", "own does not find"),
    ],
)
def test_an_example_that_fails_is_named_by_pattern_and_line(examples: str, reason: str) -> None:
    text = (
        f"minimum_confidence: medium\npatterns:\n- {{name: own, pattern: 'EMP-[0-9]+', {examples}}}"
    )
    with pytest.raises(PolicyError) as error:
        Scanner(parse_policy(text))
    assert str(error.value).startswith("line 3: patterns.0")
    assert reason in str(error.value)
    assert "hunter2" not in str(error.value) and "EMP" not in str(error.value)


@pytest.mark.parametrize("more", ["action: tag", "shadow: true", "action: redact"])
def test_examples_that_hold_are_a_policy(more: str) -> None:
    pattern = (
        f"{{name: own, pattern: 'EMP-[0-9]+', matches: [an EMP-12, EMP-1], not: [EMP], {more}}}"
    )
    Scanner(parse_policy(f"patterns: [{pattern}]"))


def test_a_pattern_may_not_cross_texts(to_value: ToValue) -> None:
    policy = "patterns: [{name: wide, pattern: 'a[^b]*b'}]"
    assert detectors(scan(policy, to_value(["xa", "bx"]))) == []
    assert detectors(scan(policy, to_value(["xa b", "bx"]))) == ["wide"]


@settings(deadline=None)
@given(st.lists(st.text("EMP-79 abx,\nü٣ＦＯo", max_size=8), max_size=6))
def test_the_quick_look_lets_nothing_of_a_pattern_through(texts: list[str]) -> None:
    for pattern, scanner in own_scanners().items():
        fields = Fields(
            texts=texts,
            # Members of an object: a list may be one value taken apart, which the sieve looks at.
            places=[(0, f"k{n}") for n in range(len(texts))],
            is_key=[False] * len(texts),
            containers=[(ROOT, "")],
        )
        if texts and not scanner.may_match(texts):
            assert scanner.scan(fields, "").findings == (), pattern


@cache
def own_scanners() -> dict[str, Scanner]:
    return {
        pattern: Scanner(
            parse_policy(json.dumps({"patterns": [{"name": "a", "pattern": pattern}]}))
        )
        for pattern, _, _ in PATTERNS
    }
