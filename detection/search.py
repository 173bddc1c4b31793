"""The search of one scan: where the patterns of a plan match, and what their checks say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise

from detection.derived import Decoded, Derived, Locator
from detection.detector import Check, Hit
from detection.document import Document
from detection.fields import ROOT, Token
from detection.findings import Action, Confidence
from detection.plan import PlannedRule
from detection.scan import MAX_LISTED

ENOUGH = MAX_LISTED + 1
"""So many findings of one rule that refuses are enough to look for the certainty that the
submission is refused; the search ends there, so that a text made of findings costs little."""

SHORT_BYTES = 1024
FAR_TIMES, FAR_BYTES = 64, 32 << 20
"""What a team's own pattern that may look far may read of longer texts: all of them so many times,
and so many bytes more."""
GROUP_TIMES = 32
"""How much longer RE2 takes to read a match that it has to tell the parts of."""


@dataclass(slots=True)
class Candidate:
    """A hit on its way to being a finding. ``start`` and ``end`` are in the joined bytes."""

    rule: PlannedRule
    start: int
    end: int
    confidence: Confidence
    guessed: bool
    """It was not checked, since too many before it were refused."""


class Search:
    """A search under way, over the texts of one submission."""

    def __init__(self, doc: Document, derived: Sequence[Derived]) -> None:
        self.doc = doc
        self.locator = Locator(doc, derived)
        self.checked = 0
        """How many candidates were checked."""
        self.cut = False
        """It ended before everything was looked for: the submission is refused."""
        self.guessed = False
        """Some of what was found was not checked."""
        self._derived = derived
        self._paths: dict[int, tuple[str, ...]] = {ROOT: ()}

    def run(self, rules: Iterable[PlannedRule]) -> list[Candidate]:
        """Return what the rules find."""
        found: list[Candidate] = []
        for rule in rules:
            self._search(rule, found)
            if self.cut:
                break
        if any(isinstance(each, Decoded) for each in self._derived):
            found = self._once(found)
        return found

    def finds(self, rule: PlannedRule) -> bool:
        """Tell whether one rule finds anything."""
        found: list[Candidate] = []
        self._search(rule, found)
        return bool(found)

    def _once(self, found: list[Candidate]) -> list[Candidate]:
        """Drop what was found in a text and again in what the text was decoded to."""
        unique: dict[object, Candidate] = {}
        for candidate in found:
            spans = self.locator.spans(candidate.start, candidate.end)
            unique.setdefault((id(candidate.rule), *spans), candidate)
        return list(unique.values())

    def _search(self, rule: PlannedRule, found: list[Candidate]) -> None:
        treated = rule.treatment
        restricted = bool(rule.allowed_values or rule.allowed_paths)
        before, enough = len(found), ENOUGH
        if isinstance(rule.check, Confidence):
            candidates = self._matches(rule, rule.check)
        else:
            candidates = self._hits(rule, rule.check)
        for candidate in candidates:
            if candidate.confidence < treated.minimum_confidence:
                continue
            if restricted and self._allowed(candidate):
                continue
            found.append(candidate)
            if len(found) - before < enough:
                continue
            if treated.shadow:
                return
            if treated.action is Action.REJECT and any(each.rule.refuses for each in real(found)):
                self.cut = True
                return
            enough *= 2

    def _hits(self, rule: PlannedRule, check: Check) -> Iterator[Candidate]:
        doc, step = self.doc, rule.step
        raw, find = doc.raw, rule.pattern.find
        end = len(raw)
        position = refused = 0
        while (match := find(raw, position, end)) is not None:
            self.checked += 1
            first, last, _ = match
            guessed = refused >= rule.max_refused
            hit: Hit | None
            if guessed:
                # What only notes must not note what it did not see.
                if rule.only_notes:
                    return
                self.guessed = True
                hit = Hit(first, last, Confidence.HIGH)
            else:
                hit = check(doc, first, last)
            if hit is None:
                refused += 1
                position = first + step if step else max(last, position + 1)
                continue
            position = max(hit.end, first + 1)
            yield Candidate(rule, hit.start, hit.end, hit.confidence, guessed)

    def _matches(self, rule: PlannedRule, confidence: Confidence) -> Iterator[Candidate]:
        """Run a team's own pattern over each text by itself, as its author expects."""
        doc, find = self.doc, rule.pattern.find
        most_times = FAR_TIMES + FAR_BYTES // len(doc.raw)
        # Not over lists put together: nobody wrote such a text.
        whole = [True] * (doc.source_index + 1) + [len(each.parts) == 1 for each in self._derived]
        for text, base in compress(zip(doc.pieces, doc.starts, strict=False), whole):
            position, size = 0, len(text)
            left = most_times * size if rule.far and size > SHORT_BYTES else None
            while (match := find(text, position, size)) is not None:
                start, end, behind = match
                self.checked += 1
                if left is not None:
                    left -= size - position
                    if rule.pattern.group:
                        left -= GROUP_TIMES * (behind - position)
                    if left < 0:
                        # What only notes must not note what it did not see.
                        if not rule.only_notes:
                            self.guessed = True
                            yield Candidate(rule, base + start, base + size, confidence, True)
                        break
                if start < end:
                    yield Candidate(rule, base + start, base + end, confidence, False)
                position = max(end, position + 1)

    def _allowed(self, candidate: Candidate) -> bool:
        doc, rule = self.doc, candidate.rule
        start, end = candidate.start, candidate.end
        if rule.allowed_values:
            index = doc.index_at(start)
            first, last = doc.span(index, start, end)
            if doc.texts[index][first:last].casefold() in rule.allowed_values:
                return True
            if doc.raw[start:end].decode(errors="replace").casefold() in rule.allowed_values:
                return True
        if not rule.allowed_paths:
            return False
        return all(
            any(_covers(path, self._steps(index)) for path in rule.allowed_paths)
            for index in self.locator.indices(start)
        )

    def _steps(self, index: int) -> tuple[str, ...]:
        """Return the steps of a text's pointer. Those of containers are kept and shared."""
        fields = self.doc.fields
        if index == self.doc.source_index:
            return ("source",)
        paths = self._paths
        owner, token = fields.places[index]
        pending: list[int] = []
        while owner not in paths:
            pending.append(owner)
            owner = fields.containers[owner][0]
        for container in reversed(pending):
            above, name = fields.containers[container]
            paths[container] = (*paths[above], _escaped(name)) if above != ROOT else ("data",)
        owner = fields.places[index][0]
        return (*paths[owner], _escaped(token)) if owner != ROOT else ("data",)


def real(found: Iterable[Candidate]) -> list[Candidate]:
    """Return what counts for the verdict."""
    return _without_overlaps([each for each in found if not each.rule.treatment.shadow])


def _escaped(token: Token) -> str:
    return str(token).replace("~", "~0").replace("/", "~1")


def _without_overlaps(found: list[Candidate]) -> list[Candidate]:
    """Drop what a better finding explains: the phone number in a card number.

    Of two built-in detectors on the same characters the surer one stays, of two as sure the longer
    one, then the one that comes first in the registry, unless the other one's action is stricter.
    Keywords, a team's own patterns and what was not checked neither drop others nor are dropped.
    """
    own = [c for c in found if c.rule.rank < 0 or c.guessed]
    ranked = sorted(
        (c for c in found if c.rule.rank >= 0 and not c.guessed),
        key=lambda c: (-c.confidence, c.start - c.end, c.rule.rank),
    )
    kept: list[Candidate] = []
    if len(ranked) == 1:
        return own + ranked
    by_start = sorted(ranked, key=lambda c: c.start)
    if all(a.end <= b.start for a, b in pairwise(by_start)):
        return own + by_start
    taken: dict[int, list[Candidate]] = {}
    for candidate in ranked:
        blocks = range(candidate.start >> 6, (candidate.end >> 6) + 1)
        covered = any(
            other.start < candidate.end
            and candidate.start < other.end
            and (
                other.confidence > candidate.confidence
                or other.rule.treatment.action >= candidate.rule.treatment.action
            )
            for block in blocks
            for other in taken.get(block, ())
        )
        if covered:
            continue
        kept.append(candidate)
        for block in blocks:
            taken.setdefault(block, []).append(candidate)
    return own + kept


def _covers(path: tuple[str, ...], steps: tuple[str, ...]) -> bool:
    if path and path[-1] == "**":
        return len(steps) >= len(path) - 1 and _covers(path[:-1], steps[: len(path) - 1])
    return len(path) == len(steps) and all(
        pattern in ("*", step) for pattern, step in zip(path, steps, strict=True)
    )
