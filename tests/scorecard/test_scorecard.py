from __future__ import annotations

import json

import pytest

from detection.detectors import DETECTORS
from tests.scorecard.__main__ import BASELINE, levels
from tests.scorecard.measure import HELD_OUT, TUNED, corpus, default_scanner, measure

# The goals that hold whatever the baseline says.
MOST_FALSE_ALARMS = 0.005
GOALS = {
    "payment_card": 0.99,
    "iban": 0.99,
    "us_ssn": 0.99,
    "email": 0.99,
    "ip_address": 0.95,
    "phone": 0.85,
}


@pytest.fixture(scope="module")
def now() -> dict[str, dict[str, float]]:
    scanner = default_scanner()
    return levels(measure(corpus(TUNED), scanner), measure(corpus(HELD_OUT), scanner))


@pytest.mark.parametrize("corpus_name", ["tuned", "held out"])
@pytest.mark.parametrize("what", ["recall", "precision"])
def test_no_detector_falls(now: dict[str, dict[str, float]], corpus_name: str, what: str) -> None:
    before = json.loads(BASELINE.read_text())[f"{corpus_name} {what}"]
    fallen = {
        detector: (level, now[f"{corpus_name} {what}"].get(detector, 0.0))
        for detector, level in before.items()
        if now[f"{corpus_name} {what}"].get(detector, 0.0) < level
    }
    assert fallen == {}


def test_every_detector_is_measured(now: dict[str, dict[str, float]]) -> None:
    assert set(now["held out recall"]) == {"keyword", *(each.name for each in DETECTORS)}


@pytest.mark.parametrize("corpus_name", ["tuned", "held out"])
def test_goals(now: dict[str, dict[str, float]], corpus_name: str) -> None:
    assert now["false alarm rate"][corpus_name] <= MOST_FALSE_ALARMS
    recall = now[f"{corpus_name} recall"]
    assert {d: recall[d] for d, goal in GOALS.items() if recall[d] < goal} == {}
    assert min(recall.values()) >= 0.8
