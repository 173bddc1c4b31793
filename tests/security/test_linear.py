"""Work grows with the text and no faster, whatever the text is made of."""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
import re
import time
from collections.abc import Iterator

import pytest
from google.protobuf import struct_pb2

import detection
from detection import Scan, Scanner
from detection.detector import Rule
from detection.detectors import DETECTORS
from detection.engine import SENTINEL, Pattern
from detection.fields import walk
from detection.policy import parse_policy
from detection.policy_file import packaged_policy
from tests.scorecard.measure import to_value
from tests.security.hostile import SHAPES, near_misses, opened
from tests.security.siblings import units

SMALL, LARGE = 64_000, 1_024_000

MOST_TIMES_BENIGN = 50
"""How many times the time of numbers and dates of the same size. The dearest, a row of colons,
takes 33 times as long, since each may begin an address; what is quadratic takes thousands."""

MOST_UNITS = 200
"""Of one rule: the names that passwords go by make thousands, much alike."""

MOST_GROWTH = 32
"""For 16 times the size; what is quadratic grows 256 times."""

POLICIES = {
    "packaged": packaged_policy(),
    "redact": parse_policy("version: 1\naction: redact\n"),
    "base64": parse_policy("version: 1\ndecode_base64: true\n"),
}


def benign(size: int) -> str:
    chance = random.Random(1)
    numbers = (
        f"{chance.randrange(10**9)} {chance.random() * 1000:.2f} {chance.randrange(10**12)} "
        f"2024-05-{chance.randrange(1, 29):02} "
        for _ in range(size // 30)
    )
    return "".join(numbers)[:size]


def seconds(scanner: Scanner, content: struct_pb2.Value, times: int = 1) -> tuple[float, Scan]:
    """Return the processor time of a scan, the least of some, and what it found."""
    fields = walk(content, 32)
    least = float("inf")
    for _ in range(times):
        begun = time.process_time()
        scan = scanner.scan(fields, "")
        least = min(least, time.process_time() - begun)
    return least, scan


@pytest.mark.parametrize(
    ("policy", "shape"),
    [*(("packaged", shape) for shape in SHAPES), ("base64", "one value")],
)
def test_a_hostile_text_costs_little_more_than_a_benign_one(policy: str, shape: str) -> None:
    scanner, make = Scanner(POLICIES[policy]), SHAPES[shape]
    usual, _ = seconds(scanner, to_value(make(benign(SMALL))), 5)
    hostile = near_misses(SMALL)
    if shape == "one value":
        hostile |= opened(SMALL)
    dear = {}
    for name, text in hostile.items():
        content = to_value(make(text))
        taken, _ = seconds(scanner, content)
        if taken > MOST_TIMES_BENIGN * usual:
            # Again, since the machine does other things as well.
            taken, _ = seconds(scanner, content, 3)
        if taken > MOST_TIMES_BENIGN * usual:
            dear[name] = round(taken / usual)
    assert dear == {}


@pytest.mark.parametrize("policy", ["packaged", "redact"])
@pytest.mark.timeout(300)
def test_sixteen_times_the_text_costs_sixteen_times_as_much(policy: str) -> None:
    scanner = Scanner(POLICIES[policy])
    small, large = ({**near_misses(size), **opened(size)} for size in (SMALL, LARGE))
    # Below this, what does not grow with the text counts as much as what does.
    floor, _ = seconds(scanner, to_value(benign(SMALL)), 5)
    grown = {}
    for name, text in small.items():
        before, less = seconds(scanner, to_value(text), 2)
        after, more = seconds(scanner, to_value(large[name]))
        if after > MOST_GROWTH * max(before, floor):
            after, _ = seconds(scanner, to_value(large[name]), 3)
        if after > MOST_GROWTH * max(before, floor):
            grown[name] = round(after / before)
        assert more.checked <= 16 * less.checked + 64, name
    assert grown == {}


OWN = {
    # What a pattern may look for behind each match: far behind it nothing comes.
    "a.*b|a": "a",
    "(?:a.*b)|[ac]": "ac",
    "a(?:.*b)?": "a",
    "(?:a.*b){0,1}a": "a",
    "(a).*|b": "a",
    "(?P<part>a)a*": "a",
    "a(?:[ac]*b|c)": "ac",
    r"\Qa\E|a.*b": "a",
    # What it cannot look for twice.
    "a.*b": "a",
    "ab*": "a...............................",
    "(?:ac|ca)[^b]?": "ac..............................",
    r"a{2,3}\b": "aa .............................",
    "a(b*)": "a...............................",
}


@pytest.mark.parametrize("action", ["tag", "redact", "reject"])
@pytest.mark.parametrize("pattern", OWN)
def test_a_pattern_of_a_team_costs_linear_time_as_well(action: str, pattern: str) -> None:
    own = {"name": "own", "pattern": pattern}
    policy = {"action": "off", "patterns": [own | {"action": action}]}
    scanner = Scanner(parse_policy(json.dumps(policy)))
    part = OWN[pattern]
    # What does not grow with the text counts for much in a small one: it is paid once.
    small, large = (to_value(part * (size // len(part))) for size in (LARGE // 4, LARGE))
    before, less = seconds(scanner, small, 2)
    after, more = seconds(scanner, large)
    if after > 8 * before:
        after, _ = seconds(scanner, large, 3)
    assert after <= 8 * before
    assert more.checked <= 4 * less.checked + 64
    assert after < 10


def refused(rule: Rule, pattern: Pattern, text: bytes) -> float:
    """Return the processor time of finding every candidate of a rule, if each is refused."""
    begun, position, end = time.process_time(), 0, len(text)
    while (match := pattern.find(text, position, end)) is not None:
        first, last, _ = match
        position = first + rule.step if rule.step else max(last, position + 1)
    return time.process_time() - begun


def test_refused_matches_within_another_ones_run_cost_no_more_than_others() -> None:
    """Leftmost first: as long as an alternative that began earlier may still match, a match that
    another one has found is not known to be the one, and each search goes on to the end of it."""
    slow = {}
    rules = [(detector.name, rule) for detector in DETECTORS for rule in detector.rules]
    for name, rule in rules:
        pattern = Pattern(rule.pattern)
        made = list(units(rule.pattern))
        for unit in random.Random(1).sample(made, min(len(made), MOST_UNITS)):
            small, large = (
                (unit * (size // len(unit))).encode() + SENTINEL for size in (SMALL, 8 * SMALL)
            )
            taken = refused(rule, pattern, small)
            if taken < 0.008:
                continue  # a search to the end for each match takes longer
            taken = max(0.008, min(taken, refused(rule, pattern, small)))
            grown = refused(rule, pattern, large)
            if grown > MOST_GROWTH * taken:
                slow[name, unit] = round(grown / taken)
    assert slow == {}


def stdlib_patterns() -> Iterator[tuple[str, re.Pattern[str] | re.Pattern[bytes]]]:
    for module in pkgutil.walk_packages(detection.__path__, "detection."):
        if module.name.endswith(("__main__", "own_patterns", "prefilters")):
            continue  # these read what a team or a detector says, not what callers do
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


UNLIMITED = re.compile(r"[*+]|\{[0-9]+,\}")
ONE_CLASS = re.compile(r"\[(?:[^\]\\]|\\.)+\][*+]")


def test_the_stdlib_matches_only_what_it_cannot_try_twice() -> None:
    """Everything else is RE2: backtracking costs nothing where a pattern has a greatest width, or
    repeats one character class and nothing after it."""
    unlimited = {}
    for name, pattern in stdlib_patterns():
        source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()
        outside = re.sub(r"\\.|\[(?:[^\]\\]|\\.)+\]", "x", source)
        if UNLIMITED.search(outside) and not ONE_CLASS.fullmatch(source):
            unlimited[name] = source
    assert unlimited == {}
