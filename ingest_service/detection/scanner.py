"""The scan: one pass of all patterns over all texts, then checks where something stirred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from google.protobuf import struct_pb2

from ingest_service.detection import context, masking
from ingest_service.detection.derived import Derived, base64_texts, split_values
from ingest_service.detection.document import CONTROLS, SEPARATOR, Document
from ingest_service.detection.engine import SENTINEL, Pattern, PatternSet
from ingest_service.detection.findings import Action, Confidence, Finding, Kind, Verdict
from ingest_service.detection.hit import Hit
from ingest_service.detection.keywords import keyword_pattern
from ingest_service.detection.normalize import fold
from ingest_service.detection.patterns import KINDS, NO_LIMIT, RULES, Check
from ingest_service.detection.policy import (
    CONFIDENCES,
    KIND_NAMES,
    Policy,
    SourcePolicy,
    Treatment,
    treatment,
)
from ingest_service.fields import Fields, Place

SOURCE_POINTER = "/source"

MOST_FINDINGS = 256
"""How many findings of one detector are listed; beyond it everything is masked instead."""


@dataclass(frozen=True, slots=True)
class _Detector:
    """One rule of one plan, ready to run."""

    name: str
    kind: Kind
    rank: int
    number: int
    pattern: Pattern
    check: Check
    step: int
    patience: int
    treatment: Treatment
    allowed_values: frozenset[str]
    allowed_paths: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class _Candidate:
    """A hit on its way to being a finding. ``start`` and ``end`` are in the joined bytes."""

    detector: _Detector
    start: int
    end: int
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found. Its texts stay out of its ``repr``, so that no log can show them."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    shadow: tuple[Finding, ...]
    """What rules in shadow would have found; no part of the verdict."""
    truncated: bool
    """There was more than is listed. The verdict stands; a masked copy hides every text."""
    checked: int = field(repr=False)
    """How many candidates were checked: the work that was done."""
    _fields: Fields = field(repr=False)
    _source: str = field(repr=False)
    _spans: dict[int, list[masking.Span]] = field(repr=False)

    @property
    def redacted(self) -> bool:
        """Tell whether an accepted submission may only be kept masked."""
        return bool(self._spans) or self.truncated

    def mask(self, data: struct_pb2.Value) -> struct_pb2.Value:
        """Return the copy of ``data`` to keep: every finding masked where it was refused, else
        those to redact. ``data`` must be the value whose fields were scanned; it is not changed."""
        spans = {index: s for index, s in self._spans.items() if index < len(self._fields.texts)}
        renamed = masking.masked_keys(self._fields, spans)
        return masking.mask_data(data, self._fields, spans, renamed)

    @property
    def masked_source(self) -> str:
        """Return ``source`` with its findings masked as `mask` does."""
        spans = self._spans.get(len(self._fields.texts), [])
        return masking.mask_text(self._source, spans)


class Scanner:
    """A policy made ready. Compiling takes tens of milliseconds; scanning changes nothing, so one
    scanner serves all threads."""

    def __init__(self, policy: Policy) -> None:
        """Compile every pattern of ``policy``, which `parse_policy` has found usable."""
        self.policy = policy
        numbers: dict[str, int] = {words.source: n for n, words in enumerate(context.ALL)}
        self._patterns: dict[str, Pattern] = {}
        self._plans: dict[str | None, tuple[_Detector, ...]] = {
            name: self._plan(numbers, source)
            for name, source in ((None, None), *policy.sources.items())
        }
        self._set = PatternSet(list(numbers))
        self._gates = frozenset(
            detector.number for plan in self._plans.values() for detector in plan
        )

    def stirs(self, texts: list[str]) -> bool:
        """Tell whether any pattern may occur in ``texts``, whoever sent them, in one pass.

        When it says no, `scan` would find nothing in them; that holds for the texts of many
        submissions together. Lists that `split_values` puts together are not looked at here.
        Raises EngineError.
        """
        if self.policy.decode_base64:
            return True
        joined = "\x1f".join(texts)
        raw = joined.encode()
        # Asked of the texts as they are: folded, they hold no control characters any more.
        if len(raw) - len(raw.translate(None, CONTROLS)) != len(texts) - 1:
            return True
        if not joined.isascii():
            raw = "\x1f".join([text if text.isascii() else fold(text) for text in texts]).encode()
        return not self._gates.isdisjoint(self._set.matching(SEPARATOR + raw + SENTINEL))

    def scan(self, fields: Fields, source: str) -> Scan:
        """Look for everything the policy names in the texts of ``fields`` and in ``source``.

        Raises EngineError, or whatever a check raises: nothing is known then, and the submission
        must be refused. Time is linear in the size of the texts.
        """
        derived: list[Derived] = []
        if self.policy.split_values:
            derived = split_values(fields)
        if self.policy.decode_base64:
            derived += base64_texts(fields, source)
        doc = Document(fields, source, [item.text for item in derived])
        matching = self._set.matching(doc.raw)
        doc.absent = frozenset(
            [words for number, words in enumerate(context.ALL) if number not in matching]
        )
        plan = self._plans.get(source, self._plans[None])
        plan = tuple([detector for detector in plan if detector.number in matching])
        if not plan:
            return Scan(Verdict.ACCEPT, (), (), False, 0, fields, source, {})
        return _Run(doc, source, derived).run(plan)

    def _plan(self, numbers: dict[str, int], source: SourcePolicy | None) -> tuple[_Detector, ...]:
        policy = self.policy
        ranks = {name: rank for rank, name in enumerate(KINDS)}
        here = source.detectors if source is not None else {}
        plan: list[_Detector] = []

        def add(
            name: str,
            kind: Kind,
            gate: str,
            pattern: str,
            check: Check,
            treated: Treatment,
            step: int = 0,
            patience: int = NO_LIMIT,
        ) -> None:
            if pattern not in self._patterns:
                self._patterns[pattern] = Pattern(pattern)
            plan.append(
                _Detector(
                    name,
                    kind,
                    ranks.get(name, -1),
                    numbers.setdefault(gate, len(numbers)),
                    self._patterns[pattern],
                    check,
                    step,
                    patience,
                    treated,
                    frozenset(value.casefold() for value in treated.allow.values),
                    tuple(tuple(path.split("/")[1:]) for path in treated.allow.paths),
                )
            )

        for rule in RULES:
            name = rule.detector
            treated = treatment(policy, source, policy.detectors.get(name), here.get(name))
            if treated is not None:
                add(
                    name, KINDS[name], rule.gate, rule.pattern, rule.check, treated,
                    rule.step, rule.patience,
                )  # fmt: skip
        for keyword in policy.keywords:
            treated = treatment(policy, source, keyword, None)
            if treated is not None:
                pattern = keyword_pattern(keyword.word)
                add(
                    keyword.name, Kind.KEYWORD, pattern, pattern,
                    _as_found(Confidence.MEDIUM), treated,
                )  # fmt: skip
        for extra in policy.patterns:
            treated = treatment(policy, source, extra, None)
            if treated is not None:
                confidence = CONFIDENCES[extra.confidence]
                pattern = fold(extra.pattern)  # as the texts are that it runs over
                add(
                    extra.name,
                    KIND_NAMES[extra.kind],
                    pattern,
                    pattern,
                    _as_found(confidence),
                    treated,
                )
        # The strictest first: once a submission is refused, the rest may be cut short.
        plan.sort(key=lambda d: (d.treatment.shadow, -d.treatment.action))
        return tuple(plan)


def _as_found(confidence: Confidence) -> Callable[[Document, int, int], Hit | None]:
    def check(doc: Document, start: int, end: int) -> Hit | None:
        # A team's own pattern may have matched a separator; no value is there.
        return (start, end, confidence) if b"\x1f" not in doc.raw[start:end] else None

    return check


class _Run:
    """One scan under way."""

    def __init__(self, doc: Document, source: str, derived: list[Derived]) -> None:
        self._doc = doc
        self._source = source
        self._derived = derived
        self._checked = 0
        self._truncated = False

    def run(self, plan: tuple[_Detector, ...]) -> Scan:
        found: list[_Candidate] = []
        for detector in plan:
            before = len(found)
            self._search(detector, found)
            if len(found) - before >= MOST_FINDINGS and not detector.treatment.shadow:
                self._truncated = True
                if detector.treatment.action is Action.REJECT:
                    break
        return self._conclude(found)

    def _search(self, detector: _Detector, found: list[_Candidate]) -> None:
        doc, check, step = self._doc, detector.check, detector.step
        minimum = detector.treatment.minimum_confidence
        restricted = bool(detector.allowed_values or detector.allowed_paths)
        raw, find = doc.raw, detector.pattern.find
        end = len(raw)
        position = checked = refused = kept = 0
        while (match := find(raw, position, end)) is not None:
            checked += 1
            first, last, _ = match
            if refused >= detector.patience:
                hit: Hit | None = (first, last, Confidence.HIGH)
            else:
                hit = check(doc, first, last)
            if hit is None:
                refused += 1
                position = first + step if step else max(last, position + 1)
                continue
            position = max(hit[1], first + 1)
            if hit[2] < minimum or (restricted and self._allowed(detector, hit[0], hit[1])):
                continue
            found.append(_Candidate(detector, hit[0], hit[1], hit[2]))
            kept += 1
            if kept >= MOST_FINDINGS:
                break
        self._checked += checked

    def _allowed(self, detector: _Detector, start: int, end: int) -> bool:
        doc = self._doc
        index = doc.index_at(start)
        if detector.allowed_values:
            first, last = doc.span(index, start, end)
            if doc.texts[index][first:last].casefold() in detector.allowed_values:
                return True
            if doc.raw[start:end].decode(errors="replace").casefold() in detector.allowed_values:
                return True
        if not detector.allowed_paths:
            return False
        places = [part[0] for part in self._parts(index, start, end)]
        return all(
            any(_covers(path, self._steps(place)) for path in detector.allowed_paths)
            for place in places
        )

    def _steps(self, index: int) -> list[str]:
        if index == self._doc.source_index:
            return ["source"]
        return self._doc.fields.pointer(index).split("/")[1:]

    def _parts(self, index: int, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return the spans of the caller's own texts that a span of the joined bytes is of."""
        doc = self._doc
        if index > doc.source_index:
            return list(self._derived[index - doc.source_index - 1].parts)
        return [(index, *doc.span(index, start, end))]

    def _conclude(self, found: list[_Candidate]) -> Scan:
        doc = self._doc
        shadow = [c for c in found if c.detector.treatment.shadow]
        real = _without_overlaps([c for c in found if not c.detector.treatment.shadow])
        verdict = Verdict.ACCEPT
        if any(c.detector.treatment.action is Action.REJECT for c in real):
            verdict = Verdict.REJECT
        spans: dict[int, list[masking.Span]] = {}
        keys: dict[int, list[masking.Span]] = {}
        real_parts = [(c, self._parts(doc.index_at(c.start), c.start, c.end)) for c in real]
        shadow_parts = [(c, self._parts(doc.index_at(c.start), c.start, c.end)) for c in shadow]
        for candidate, parts in (*real_parts, *shadow_parts):
            detector = candidate.detector
            secret = detector.kind is Kind.SECRET
            for index, start, end in parts:
                is_key = index < doc.source_index and doc.fields.is_key[index]
                # A keyword in a key is the name of a field: it says what is there, not what is in
                # it, and every pointer shows it.
                if is_key and detector.kind is Kind.KEYWORD:
                    continue
                if is_key:
                    keys.setdefault(index, []).append((start, end, secret))
                masked = verdict is Verdict.REJECT or detector.treatment.action is Action.REDACT
                if masked and not detector.treatment.shadow:
                    spans.setdefault(index, []).append((start, end, secret))
        if self._truncated:
            spans = {index: [(0, len(text), True)] for index, text in enumerate(doc.texts)}
        names: dict[Place, str] = masking.masked_keys(doc.fields, keys) if keys else {}
        shown = {(owner, str(key)): name for (owner, key), name in names.items()}
        return Scan(
            verdict,
            tuple(self._findings(real_parts, shown)),
            tuple(self._findings(shadow_parts, shown)),
            self._truncated,
            self._checked,
            doc.fields,
            self._source,
            spans,
        )

    def _findings(
        self,
        candidates: list[tuple[_Candidate, list[tuple[int, int, int]]]],
        shown: dict[tuple[int, str], str],
    ) -> list[Finding]:
        doc = self._doc
        findings: list[tuple[int, int, Finding]] = []
        for candidate, parts in candidates:
            detector = candidate.detector
            for index, start, end in parts:
                at_source = index == doc.source_index
                finding = Finding(
                    detector.name,
                    detector.kind,
                    SOURCE_POINTER if at_source else doc.fields.pointer(index, shown),
                    start,
                    end,
                    candidate.confidence,
                    detector.treatment.action,
                    not at_source and doc.fields.is_key[index],
                )
                findings.append((index, start, finding))
        findings.sort(key=lambda entry: entry[:2])
        return [finding for _, _, finding in findings]


def _without_overlaps(found: list[_Candidate]) -> list[_Candidate]:
    """Drop what a better finding explains: the phone number in a card number.

    Of two built-in detectors on the same characters the surer one stays, of two as sure the longer
    one, then the one that comes first in the table, unless the other one's action is stricter.
    Keywords and a team's own patterns neither drop others nor are dropped.
    """
    own = [c for c in found if c.detector.rank < 0]
    ranked = sorted(
        (c for c in found if c.detector.rank >= 0),
        key=lambda c: (-c.confidence, c.start - c.end, c.detector.rank),
    )
    kept: list[_Candidate] = []
    if len(ranked) == 1:
        return own + ranked
    by_start = sorted(ranked, key=lambda c: c.start)
    if all(a.end <= b.start for a, b in pairwise(by_start)):
        return own + by_start
    taken: dict[int, list[_Candidate]] = {}
    for candidate in ranked:
        blocks = range(candidate.start >> 6, (candidate.end >> 6) + 1)
        covered = any(
            other.start < candidate.end
            and candidate.start < other.end
            and (
                other.confidence > candidate.confidence
                or other.detector.treatment.action >= candidate.detector.treatment.action
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


def _covers(path: tuple[str, ...], steps: list[str]) -> bool:
    if path and path[-1] == "**":
        return len(steps) >= len(path) - 1 and _covers(path[:-1], steps[: len(path) - 1])
    return len(path) == len(steps) and all(
        pattern in ("*", step) for pattern, step in zip(path, steps, strict=True)
    )
