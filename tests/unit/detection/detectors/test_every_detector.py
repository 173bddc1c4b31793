"""What holds for every detector, whatever it finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import detection.detectors
from detection import Kind, Scan
from detection.detector import Detector, Rule
from detection.detectors import DETECTORS
from detection.document import Document
from detection.engine import Pattern, every
from detection.fields import ROOT, Fields

Detect = Callable[[object], Scan]

HITS = [(detector.name, text) for detector in DETECTORS for text in detector.hits]
MISSES = [(detector.name, text) for detector in DETECTORS for text in detector.misses]
RULES = [(detector, rule) for detector in DETECTORS for rule in detector.rules]
NAMES = [f"{detector.name}-{detector.rules.index(rule)}" for detector, rule in RULES]


def test_every_file_is_registered_by_its_name() -> None:
    folder = Path(detection.detectors.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert [detector.name for detector in DETECTORS] == list(detection.detectors._FILES)
    assert files == set(detection.detectors._FILES)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.name)
def test_a_detector_says_what_it_finds_and_what_not(detector: Detector) -> None:
    assert detector.rules and detector.hits and detector.misses
    assert detector.kind is not Kind.KEYWORD
    # A blank of any kind would cross from one text into the next.
    assert not any("\\s" in rule.pattern + rule.prefilter for rule in detector.rules)


@pytest.mark.parametrize("around", ["{}", "so: {} ok", "a\n{}\nb"])
@pytest.mark.parametrize(("name", "text"), HITS)
def test_hits_are_found(scan: Detect, name: str, text: str, around: str) -> None:
    assert name in {finding.detector for finding in scan(around.format(text)).findings}


@pytest.mark.parametrize(("name", "text"), MISSES)
def test_misses_are_not_found(scan: Detect, name: str, text: str) -> None:
    assert name not in {finding.detector for finding in scan(text).findings}


def texts_for(detector: Detector, rule: Rule) -> st.SearchStrategy[str]:
    """Make texts of what the pattern matches, the examples, the words, and anything else."""
    matches = st.from_regex(rule.pattern).filter(str.isprintable)
    words = [word for words in detector.words for word in words.alternatives]
    around = st.text(st.characters(max_codepoint=0x24F, exclude_categories=["C"]), max_size=4)
    parts = [around, st.sampled_from(detector.hits)]
    if words:
        parts += [st.sampled_from(words)]
    some = st.lists(st.one_of(*parts), max_size=2).map(" ".join)
    return st.builds(
        lambda before, joint, value, after: before + joint + value + after,
        some,
        st.sampled_from(["", " ", ": ", "_", "\\n", "("]),
        st.one_of(matches, st.sampled_from(detector.hits)),
        some,
    )


@pytest.mark.parametrize(("detector", "rule"), RULES, ids=NAMES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_prefilter_lets_through_whatever_its_rule_finds(
    detector: Detector, rule: Rule, data: st.DataObject
) -> None:
    text = data.draw(texts_for(detector, rule))
    fields = Fields(texts=[text], places=[(ROOT, "")], is_key=[False], nodes=1)
    doc = Document(fields, "", [])
    found = [rule.check(doc, start, end) for start, end, _ in every(Pattern(rule.pattern), doc.raw)]
    assume(any(found))
    assert Pattern(rule.prefilter).occurs(doc.raw, 0, len(doc.raw))
