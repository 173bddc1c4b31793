"""What holds for every detector, whatever it finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import detection.detectors
from detection import Kind, Scan
from detection.detector import Detector, Hit, Rule
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


def documents(detector: Detector, rule: Rule) -> st.SearchStrategy[Document]:
    """Make documents of what the pattern matches, among the detector's words and anything else."""
    words = [word for words in detector.words for word in words.alternatives]
    anything = st.text(st.characters(max_codepoint=0x24F, exclude_categories=["C"]), max_size=4)
    around = st.sampled_from(["", " ", ": ", "_", "\\n", "(", *words]) | anything
    values = st.from_regex(rule.pattern) | st.sampled_from(detector.hits)
    texts = st.tuples(around, around, values, around).map("".join)
    return st.builds(document, texts, st.sampled_from(["a", *words]))


def document(text: str, key: str) -> Document:
    """Return an object of one member. A key in the text itself ends where the value begins."""
    name, _, value = text.rpartition("\x1f")
    fields = Fields(
        texts=[name or key, value],
        places=[(0, name or key)] * 2,
        is_key=[True, False],
        containers=[(ROOT, "")],
    )
    return Document(fields, "", [])


def hits(rule: Rule, doc: Document) -> list[Hit]:
    found = [rule.check(doc, start, end) for start, end, _ in every(Pattern(rule.pattern), doc.raw)]
    return [hit for hit in found if hit is not None]


@pytest.mark.parametrize(("detector", "rule"), RULES, ids=NAMES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_prefilters_let_through_whatever_is_found(
    detector: Detector, rule: Rule, data: st.DataObject
) -> None:
    doc = data.draw(documents(detector, rule))
    found = hits(rule, doc)
    if not Pattern(rule.prefilter).occurs(doc.raw, 0, len(doc.raw)):
        # Then another rule of the detector finds as much.
        others = [
            hit
            for each in detector.rules
            if Pattern(each.prefilter).occurs(doc.raw, 0, len(doc.raw))
            for hit in hits(each, doc)
        ]
        for hit in found:
            assert any(
                other.start <= hit.start
                and other.end >= hit.end
                and other.confidence >= hit.confidence
                for other in others
            )
