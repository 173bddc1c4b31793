"""Scan the corpus and count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from google.protobuf import struct_pb2

from detection import Scanner, Verdict
from detection.fields import walk
from detection.policy_file import packaged_policy
from tests.scorecard.case import Case
from tests.scorecard.harmless import PROSE, harmless
from tests.scorecard.notations import look_alikes, notations
from tests.scorecard.positives import further_positives, positives

TUNED, HELD_OUT = 1, 20_260
"""Seeds: the rules were written looking at cases of the first, never at those of the second."""

POSITIVES, HARMLESS, NOTATIONS, FURTHER_POSITIVES = 40, 30, 10, 20


@dataclass
class Score:
    """Counts over a corpus, by detector, and the misses to look at."""

    expected: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    harmless: int = 0
    refused: int = 0
    flagged: int = 0
    misses: list[Case] = field(default_factory=list)
    alarms: list[tuple[Case, str]] = field(default_factory=list)

    def recall(self, detector: str) -> float:
        return self.found[detector] / self.expected[detector]

    def precision(self, detector: str) -> float:
        reported = self.found[detector] + self.false[detector]
        return self.found[detector] / reported if reported else 1.0

    @property
    def false_alarm_rate(self) -> float:
        return self.refused / self.harmless


def corpus(seed: int) -> Iterable[Case]:
    chance = Random(seed)
    yield from positives(chance, POSITIVES)
    yield from harmless(chance, HARMLESS)
    # With a chance of their own, so that what was there before stays as it was.
    chance = Random(seed + 1)
    yield from notations(chance, NOTATIONS)
    yield from look_alikes(chance, HARMLESS)
    yield from further_positives(Random(seed + 2), FURTHER_POSITIVES)


def to_value(content: object) -> struct_pb2.Value:
    value = struct_pb2.Value()
    if isinstance(content, str):
        value.string_value = content
    elif isinstance(content, bool) or content is None:
        raise TypeError("no case is made of these")
    elif isinstance(content, (int, float)):
        value.number_value = content
    elif isinstance(content, dict):
        for key, member in content.items():
            value.struct_value.fields[key].CopyFrom(to_value(member))
    elif isinstance(content, list):
        value.list_value.values.extend(to_value(item) for item in content)
    return value


def measure(cases: Iterable[Case], scanner: Scanner) -> Score:
    score = Score()
    for case in cases:
        scan = scanner.scan(walk(to_value(case.content), 32), "")
        reported = {finding.detector for finding in scan.findings}
        for detector in case.expected:
            score.expected[detector] += 1
            score.found[detector] += detector in reported
        if case.expected - reported:
            score.misses.append(case)
        for detector in reported - case.expected - case.also:
            score.false[detector] += 1
            score.alarms.append((case, detector))
        if not case.expected:
            score.harmless += 1
            score.refused += scan.verdict is Verdict.REJECT
            score.flagged += bool(reported)
    return score


def speed(scanner: Scanner, kilobytes: int = 1) -> dict[str, float]:
    """Return microseconds a kilobyte, the best of many scans, for two kinds of text."""
    chance = Random(TUNED)
    prose = " ".join(
        chance.choice(PROSE[:2]) + " " + chance.choice(PROSE[9:13]) for _ in range(2000)
    )
    numbers = " ".join(
        chance.choice((str(chance.randrange(10**9)), f"{chance.random() * 1000:.2f}",
                       str(chance.randrange(10**12)), f"2024-05-{chance.randrange(1, 29):02}"))
        for _ in range(9000)
    )  # fmt: skip
    result = {}
    for name, text in (("prose", prose), ("numbers", numbers)):
        fields = walk(to_value(text[: 1024 * kilobytes]), 4)
        best = float("inf")
        for _ in range(200 // kilobytes + 5):
            start = time.perf_counter()
            scanner.scan(fields, "")
            best = min(best, time.perf_counter() - start)
        result[name] = best * 1e6 / kilobytes
    return result


def default_scanner() -> Scanner:
    return Scanner(packaged_policy())
