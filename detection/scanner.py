"""The scan: one pass of all patterns over all texts, then checks where something stirred."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import compress, pairwise

from google.protobuf import struct_pb2

from detection import context, masking
from detection.derived import (
    ENCODED,
    Decoded,
    Derived,
    base64_texts,
    decoded_texts,
    split_values,
)
from detection.document import CONTROLS, SEPARATOR, Document
from detection.engine import (
    SENTINEL,
    EngineError,
    Pattern,
    PatternError,
    PatternSet,
)
from detection.fields import ROOT, Fields, Place, Token
from detection.findings import Action, Confidence, Finding, Kind, Verdict
from detection.hit import Hit
from detection.keywords import keyword_pattern
from detection.normalize import fold
from detection.patterns import (
    KINDS,
    NO_LIMIT,
    RULES,
    SPANS_BESIDE,
    TEXTS_BESIDE,
    Check,
)
from detection.policy import (
    CONFIDENCES,
    KIND_NAMES,
    Policy,
    PolicyError,
    SourcePolicy,
    Treatment,
    gate_of,
    may_look_far,
    runnable,
    treatment,
)

SOURCE_POINTER = "/source"

MAX_LISTED = 256
MAX_LISTED_BYTES = 20 * 1024
"""Of the pointers of the findings that are listed. There may be more: they are counted."""

ENOUGH = MAX_LISTED + 1
"""So many findings of one rule that refuses are enough to look for the certainty that the
submission is refused; the search ends there, so that a text made of findings costs little."""

SHORT_BYTES = 1024
FAR_TIMES, FAR_BYTES = 64, 32 << 20
"""What a team's own pattern that may look far may read of longer texts: all of them so many times,
and so many bytes more."""
GROUP_TIMES = 32
"""How much longer RE2 takes to read a match that it has to tell the parts of."""

_OWN = 1 << 20
"""Added to the number of a gate of the team's own patterns, which have a set of their own."""


@dataclass(frozen=True, slots=True)
class _Detector:
    """One rule of one plan, ready to run."""

    name: str
    kind: Kind
    rank: int
    number: int
    pattern: Pattern
    check: Check | Confidence
    """For a team's own pattern how sure it is: it runs over each text by itself, and every match is
    a hit."""
    step: int
    patience: int
    treatment: Treatment
    allowed_values: frozenset[str]
    allowed_paths: tuple[tuple[str, ...], ...]
    far: bool
    """Finding all that it matches may take longer than linear in the text."""


@dataclass(slots=True)
class _Candidate:
    """A hit on its way to being a finding. ``start`` and ``end`` are in the joined bytes."""

    detector: _Detector
    start: int
    end: int
    confidence: Confidence
    guessed: bool
    """It was not checked, since too many before it were refused."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found. Its texts stay out of its ``repr``, so that no log can show them."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    """In the order of their places: at most MAX_LISTED, of the strictest actions."""
    finding_count: int
    """How many there are; at least so many when ``masked_widely``, and where a team's own pattern
    that only notes would have had to read too much."""
    shadow: tuple[Finding, ...]
    """What rules in shadow would have found; no part of the verdict. Cut like ``findings``."""
    shadow_count: int
    """At least so many: after ENOUGH of a rule no more are looked for."""
    detectors: tuple[str, ...]
    """Names of all that found something, in the order of the places."""
    masked_widely: bool
    """There was too much to tell apart: the masked copy may hide more than was found."""
    checked: int = field(repr=False)
    """How many candidates were checked: the work that was done."""
    shown: dict[Place, str] = field(repr=False)
    """What stands in pointers for the keys that must not be shown."""
    _fields: Fields = field(repr=False)
    _source: str = field(repr=False)
    _spans: dict[int, list[masking.Span]] = field(repr=False)
    _held: frozenset[int] = field(repr=False)
    """Numbers of the texts that hold a finding."""

    @property
    def redacted(self) -> bool:
        """Tell whether only a masked copy may be kept."""
        return self.verdict is Verdict.REJECT or bool(self._spans)

    @property
    def held_texts(self) -> set[str]:
        """Return the texts of the fields that hold a finding."""
        texts = self._fields.texts
        return {texts[index] for index in self._held if index < len(texts)}

    @property
    def in_source(self) -> bool:
        """Tell whether something was found in ``source``."""
        return len(self._fields.texts) in self._held

    def mask(self, data: struct_pb2.Value) -> struct_pb2.Value:
        """Return the copy of ``data`` to keep: where it is refused every text that holds a finding
        is hidden altogether, else what is to be redacted. ``data`` must be the value whose fields
        were scanned; it is not changed."""
        texts = self._fields.texts
        if self.verdict is Verdict.REJECT:
            masked = {
                index: masking.mask_whole(texts[index])
                for index in sorted(self._held)
                if index < len(texts)
            }
        else:
            masked = {
                index: masking.mask_text(texts[index], spans)
                for index, spans in self._spans.items()
                if index < len(texts)
            }
        return masking.mask_data(data, self._fields, masked)

    def masked_source(self, *, refused: bool) -> str:
        """Return ``source`` masked as `mask` does, for a submission that may be refused for other
        reasons than the verdict."""
        if refused:
            return masking.mask_whole(self._source) if self.in_source else self._source
        return masking.mask_text(self._source, self._spans.get(len(self._fields.texts), []))


class Scanner:
    """A policy made ready. Compiling takes tens of milliseconds; scanning changes nothing, so one
    scanner serves all threads."""

    def __init__(self, policy: Policy) -> None:
        """Compile every pattern of ``policy`` and try it on its examples. Raises PolicyError."""
        self.policy = policy
        try:
            self._compile(policy)
            self.scan(Fields(), "")
        except (PatternError, EngineError):
            raise PolicyError("the patterns are too large to run together") from None
        for number, extra in enumerate(policy.patterns):
            where = policy.whereabouts(number)
            if any(not self._finds(extra.name, example) for example in extra.matches):
                raise PolicyError(f"{where}: {extra.name} does not find one of its `matches`")
            if any(self._finds(extra.name, example) for example in extra.not_):
                raise PolicyError(f"{where}: {extra.name} finds one of its `not`")

    def _compile(self, policy: Policy) -> None:
        numbers: dict[str, int] = {words.source: n for n, words in enumerate(context.ALL)}
        self._patterns: dict[str, Pattern] = {}
        self._plans: dict[str | None, tuple[_Detector, ...]] = {
            name: self._plan(numbers, source)
            for name, source in ((None, None), *policy.sources.items())
        }
        self._encoded = numbers.setdefault(ENCODED, len(numbers))
        self._set = PatternSet(list(numbers))
        own = [gate_of(extra.pattern) for extra in policy.patterns]
        self._own_set = PatternSet(own) if own else None
        self._gates = frozenset(
            detector.number for plan in self._plans.values() for detector in plan
        ) | {self._encoded}

    def may_match(self, texts: list[str]) -> bool:
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
        return not self._gates.isdisjoint(self._matching(SEPARATOR + raw + SENTINEL))

    def scan(self, fields: Fields, source: str, *, as_source: str | None = None) -> Scan:
        """Look for everything the policy names in the texts of ``fields`` and in ``source``.

        What the policy says about a source is taken from ``as_source``, where that is given. Raises
        EngineError, or whatever a check raises: nothing is known then, and the submission must be
        refused. Time is linear in the size of the texts.
        """
        sender = source if as_source is None else as_source
        derived: list[Derived] = []
        if self.policy.split_values:
            derived = split_values(fields)
        if self.policy.decode_base64:
            derived += base64_texts(fields, source)
        doc = _document(fields, source, derived)
        matching = self._matching(doc.raw)
        if self._encoded in matching:
            derived += decoded_texts(doc)
            doc = _document(fields, source, derived)
            matching = self._matching(doc.raw)
        plan = self._plans.get(sender, self._plans[None])
        plan = tuple([detector for detector in plan if detector.number in matching])
        if not plan:
            return Scan(
                Verdict.ACCEPT, (), 0, (), 0, (), False, 0, {}, fields, source, {}, frozenset()
            )
        doc.absent = frozenset(
            [words for number, words in enumerate(context.ALL) if number not in matching]
        )

        def names() -> Scan:
            # Of names only, ``source`` is what is left to look through.
            fewer = Fields() if all(fields.is_key) else _names(fields)
            return self.scan(fewer, source, as_source=sender)

        return _Run(doc, source, derived, names).run(plan)

    def _matching(self, raw: bytes) -> set[int]:
        """Return the numbers of the gates that are open in joined texts."""
        numbers = self._set.matching(raw)
        if self._own_set is not None:
            # Each text a line of its own, so that ^ and $ hold at its bounds.
            lines = raw[: -len(SENTINEL)].replace(SEPARATOR, b"\n") + b"\n" + SENTINEL
            numbers |= {_OWN + number for number in self._own_set.matching(lines)}
        return numbers

    def _finds(self, name: str, text: str) -> bool:
        """Tell whether the pattern of that name, wherever it is not off, finds something."""
        if not self.may_match([text]):
            return False
        doc = Document(_one(text), "", [])
        matching = self._matching(doc.raw)
        detectors = {
            detector.number: detector
            for plan in self._plans.values()
            for detector in plan
            if detector.name == name and detector.number in matching
        }
        run = _Run(doc, "", [], lambda: self.scan(Fields(), ""))
        return any(run.finds(detector) for detector in detectors.values())

    def _plan(self, numbers: dict[str, int], source: SourcePolicy | None) -> tuple[_Detector, ...]:
        policy = self.policy
        ranks = {name: rank for rank, name in enumerate(KINDS)}
        here = source.detectors if source is not None else {}
        plan: list[_Detector] = []

        def add(
            name: str,
            kind: Kind,
            gate: str | int,
            pattern: str,
            check: Check | Confidence,
            treated: Treatment,
            step: int = 0,
            patience: int = NO_LIMIT,
            far: bool = False,
        ) -> None:
            if pattern not in self._patterns:
                self._patterns[pattern] = Pattern(pattern)
            plan.append(
                _Detector(
                    name,
                    kind,
                    ranks.get(name, -1),
                    numbers.setdefault(gate, len(numbers)) if isinstance(gate, str) else gate,
                    self._patterns[pattern],
                    check,
                    step,
                    patience,
                    treated,
                    frozenset(value.casefold() for value in treated.allow.values),
                    tuple(tuple(path.split("/")[1:]) for path in treated.allow.paths),
                    far,
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
        for number, extra in enumerate(policy.patterns):
            treated = treatment(policy, source, extra, None)
            if treated is not None:
                add(
                    extra.name,
                    KIND_NAMES[extra.kind],
                    _OWN + number,
                    runnable(extra.pattern),
                    CONFIDENCES[extra.confidence],
                    treated,
                    far=may_look_far(extra.pattern),
                )
        # Those that refuse come last: what may explain away their findings is known by then, and
        # once a submission is surely refused the rest may be cut short.
        plan.sort(key=_refuses)
        return tuple(plan)


def _document(fields: Fields, source: str, derived: list[Derived]) -> Document:
    if not derived:
        return Document(fields, source, [])
    origins = [item.parts[0][0] for item in derived]
    return Document(fields, source, [item.text for item in derived], origins)


def _refuses(detector: _Detector) -> bool:
    return detector.treatment.action is Action.REJECT and not detector.treatment.shadow


def _only_notes(detector: _Detector) -> bool:
    return detector.treatment.shadow or detector.treatment.action is Action.TAG


def _as_found(confidence: Confidence) -> Callable[[Document, int, int], Hit | None]:
    def check(doc: Document, start: int, end: int) -> Hit | None:
        return start, end, confidence

    return check


def _one(text: str) -> Fields:
    return Fields(texts=[text], places=[(ROOT, "")], is_key=[False], nodes=1)


def _names(fields: Fields) -> Fields:
    """Return the object keys alone, each once."""
    keys = list(
        dict.fromkeys([text for text, key in zip(fields.texts, fields.is_key, strict=True) if key])
    )
    return Fields(
        texts=keys,
        places=[(0, key) for key in keys],
        is_key=[True] * len(keys),
        containers=[(ROOT, "")],
    )


class _Run:
    """One scan under way."""

    def __init__(
        self, doc: Document, source: str, derived: list[Derived], names: Callable[[], Scan]
    ) -> None:
        self._doc = doc
        self._source = source
        self._derived = derived
        self._names = names
        self._checked = 0
        self._cut = False
        self._guessed = False
        self._paths: dict[int, tuple[str, ...]] = {ROOT: ()}

    def run(self, plan: tuple[_Detector, ...]) -> Scan:
        found: list[_Candidate] = []
        for detector in plan:
            self._search(detector, found)
            if self._cut:
                break
        if any(isinstance(each, Decoded) for each in self._derived):
            found = self._once(found)
        return self._conclude(found)

    def _once(self, found: list[_Candidate]) -> list[_Candidate]:
        """Drop what was found in a text and again in what the text was decoded to."""
        unique: dict[object, _Candidate] = {}
        for candidate in found:
            place = (id(candidate.detector), *self._parts(candidate))
            unique.setdefault(place, candidate)
        return list(unique.values())

    def finds(self, detector: _Detector) -> bool:
        """Tell whether one detector finds anything."""
        found: list[_Candidate] = []
        self._search(detector, found)
        return bool(found)

    def _search(self, detector: _Detector, found: list[_Candidate]) -> None:
        treated = detector.treatment
        restricted = bool(detector.allowed_values or detector.allowed_paths)
        before, enough = len(found), ENOUGH
        if isinstance(detector.check, Confidence):
            hits = self._matches(detector, detector.check)
        else:
            hits = self._hits(detector, detector.check)
        for start, end, confidence, guessed in hits:
            if confidence < treated.minimum_confidence:
                continue
            if restricted and self._allowed(detector, start, end):
                continue
            found.append(_Candidate(detector, start, end, confidence, guessed))
            if len(found) - before < enough:
                continue
            if treated.shadow:
                return
            if treated.action is Action.REJECT and any(map(_stops, _real(found))):
                self._cut = True
                return
            enough *= 2

    def _hits(
        self, detector: _Detector, check: Check
    ) -> Iterator[tuple[int, int, Confidence, bool]]:
        doc, step = self._doc, detector.step
        raw, find = doc.raw, detector.pattern.find
        end = len(raw)
        position = refused = 0
        while (match := find(raw, position, end)) is not None:
            self._checked += 1
            first, last, _ = match
            guessed = refused >= detector.patience
            if guessed:
                # What only notes must not note what it did not see.
                if _only_notes(detector):
                    return
                self._guessed = True
                hit: Hit | None = (first, last, Confidence.HIGH)
            else:
                hit = check(doc, first, last)
            if hit is None:
                refused += 1
                position = first + step if step else max(last, position + 1)
                continue
            position = max(hit[1], first + 1)
            yield *hit, guessed

    def _matches(
        self, detector: _Detector, confidence: Confidence
    ) -> Iterator[tuple[int, int, Confidence, bool]]:
        """Run a team's own pattern over each text by itself, as its author expects."""
        doc, find = self._doc, detector.pattern.find
        most_times = FAR_TIMES + FAR_BYTES // len(doc.raw)
        # Not over lists put together: nobody wrote such a text.
        whole = [True] * (doc.source_index + 1) + [len(each.parts) == 1 for each in self._derived]
        for text, base in compress(zip(doc.pieces, doc.starts, strict=False), whole):
            position, size = 0, len(text)
            left = most_times * size if detector.far and size > SHORT_BYTES else None
            while (match := find(text, position, size)) is not None:
                start, end, behind = match
                self._checked += 1
                if left is not None:
                    left -= size - position
                    if detector.pattern.group:
                        left -= GROUP_TIMES * (behind - position)
                    if left < 0:
                        # What only notes must not note what it did not see.
                        if not _only_notes(detector):
                            self._guessed = True
                            yield base + start, base + size, confidence, True
                        break
                if start < end:
                    yield base + start, base + end, confidence, False
                position = max(end, position + 1)

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
        return all(
            any(_covers(path, self._steps(place)) for path in detector.allowed_paths)
            for place in self._indices(start)
        )

    def _steps(self, index: int) -> tuple[str, ...]:
        """Return the steps of a text's pointer. Those of containers are kept and shared."""
        fields = self._doc.fields
        if index == self._doc.source_index:
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

    def _conclude(self, found: list[_Candidate]) -> Scan:
        doc, fields = self._doc, self._doc.fields
        shadow = [c for c in found if c.detector.treatment.shadow]
        real = _real(found)
        real.sort(key=_place)
        shadow.sort(key=_place)
        verdict = Verdict.REJECT if any(map(_stops, real)) else Verdict.ACCEPT
        held: set[int] = set()
        hidden: set[int] = set()
        spans: dict[int, list[masking.Span]] = {}
        hiding: dict[str, list[_Candidate]] = {}
        count = 0
        for candidate in real:
            indices = self._indices(candidate.start)
            count += len(indices)
            here = [index for index in indices if not self._names_a_field(candidate, index)]
            held.update(here)
            detector = candidate.detector
            if verdict is Verdict.REJECT:
                hiding.setdefault(detector.name, []).append(candidate)
            elif detector.treatment.action is Action.REDACT:
                hiding.setdefault(detector.name, []).append(candidate)
                own = [part for part in self._parts(candidate) if part[0] in here]
                for index, start, end in (*own, *self._beside(candidate)):
                    secret = detector.kind is Kind.SECRET
                    spans.setdefault(index, []).append((start, end, secret))
        for name, candidates in hiding.items():
            for index in self._texts_beside(name, candidates, verdict):
                if verdict is Verdict.REJECT:
                    held.add(index)
                else:
                    secret = KINDS[name] is Kind.SECRET
                    spans.setdefault(index, []).append((0, len(doc.texts[index]), secret))
        shadow_count = 0
        for candidate in shadow:
            indices = self._indices(candidate.start)
            shadow_count += len(indices)
            hidden.update(i for i in indices if not self._names_a_field(candidate, i))
        hidden |= held
        if self._cut:
            # What was not looked for may be anywhere. Names are few: they are looked through.
            held.update(range(doc.source_index))
            hidden |= self._hold_names(held)
        keys = {
            index: masking.mask_whole(fields.texts[index])
            for index in sorted(hidden)
            if index < doc.source_index and fields.is_key[index]
        }
        shown = masking.masked_keys(fields, keys)
        return Scan(
            verdict,
            tuple(self._findings(real, shown)),
            count,
            tuple(self._findings(shadow, shown)),
            shadow_count,
            tuple(dict.fromkeys([candidate.detector.name for candidate in real])),
            self._cut or self._guessed,
            self._checked,
            shown,
            fields,
            self._source,
            spans,
            frozenset(held),
        )

    def _hold_names(self, held: set[int]) -> set[int]:
        """Return the keys with a finding, and add ``source`` to ``held`` if it has one."""
        fields, source = self._doc.fields, self._doc.source_index
        if not fields.texts:
            held.add(source)
            return set()
        names = self._names()
        if names.in_source:
            held.add(source)
        keys = [index for index, key in enumerate(fields.is_key) if key]
        if len(keys) == len(fields.texts):
            # These are nothing but names, and were too many.
            return set(keys)
        named = names.held_texts
        return {index for index in keys if fields.texts[index] in named}

    def _indices(self, start: int) -> list[int]:
        """Return the numbers of the caller's own texts that a candidate lies in."""
        doc = self._doc
        index = doc.index_at(start)
        if index > doc.source_index:
            return [part[0] for part in self._derived[index - doc.source_index - 1].parts]
        return [index]

    def _parts(self, candidate: _Candidate) -> list[tuple[int, int, int]]:
        """Return the spans of the caller's own texts that a candidate is of."""
        return self._written(candidate.start, candidate.end)

    def _written(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return the spans of the caller's own texts that a span of the joined bytes is of."""
        doc = self._doc
        index = doc.index_at(start)
        first, last = doc.span(index, start, end)
        if index > doc.source_index:
            return list(self._derived[index - doc.source_index - 1].spans(first, last))
        return [(index, first, last)]

    def _beside(self, candidate: _Candidate) -> list[tuple[int, int, int]]:
        """Return the spans of the caller's own texts that are hidden with a candidate."""
        find = SPANS_BESIDE.get(candidate.detector.name)
        if find is None:
            return []
        spans = find(self._doc, candidate.start, candidate.end)
        return [part for span in spans for part in self._written(*span)]

    def _texts_beside(self, name: str, candidates: list[_Candidate], verdict: Verdict) -> list[int]:
        """Return the numbers of the texts that are hidden with findings of one detector."""
        find = TEXTS_BESIDE.get(name)
        if find is None:
            return []
        spans = [(candidate.start, candidate.end) for candidate in candidates]
        return find(self._doc, spans, verdict is Verdict.REJECT)

    def _names_a_field(self, candidate: _Candidate, index: int) -> bool:
        """Tell whether a finding is a keyword in a key: it says what is there, not what is in it,
        and every pointer shows it."""
        doc = self._doc
        return (
            candidate.detector.kind is Kind.KEYWORD
            and index < doc.source_index
            and doc.fields.is_key[index]
        )

    def _findings(self, candidates: list[_Candidate], shown: dict[Place, str]) -> list[Finding]:
        """List findings, the strictest first as long as there is room, then by place."""
        doc = self._doc
        pointers: dict[int, str] = {}
        chosen: list[_Candidate] = []
        count, room = 0, MAX_LISTED_BYTES
        for candidate in sorted(candidates, key=lambda c: -c.detector.treatment.action):
            for index in self._indices(candidate.start):
                if index not in pointers:
                    at_source = index == doc.source_index
                    pointers[index] = (
                        SOURCE_POINTER if at_source else doc.fields.pointer(index, shown)
                    )
                count += 1
                room -= len(pointers[index].encode())
            if room < 0 or count > MAX_LISTED:
                break
            chosen.append(candidate)
        chosen.sort(key=_place)
        findings: list[tuple[int, int, Finding]] = []
        for candidate in chosen:
            detector = candidate.detector
            for index, start, end in self._parts(candidate):
                finding = Finding(
                    detector.name,
                    detector.kind,
                    pointers[index],
                    start,
                    end,
                    candidate.confidence,
                    detector.treatment.action,
                    index != doc.source_index and doc.fields.is_key[index],
                )
                findings.append((index, start, finding))
        findings.sort(key=lambda entry: entry[:2])
        return [finding for _, _, finding in findings]


def _place(candidate: _Candidate) -> int:
    return candidate.start


def _stops(candidate: _Candidate) -> bool:
    return candidate.detector.treatment.action is Action.REJECT


def _real(found: Iterable[_Candidate]) -> list[_Candidate]:
    """Return what counts for the verdict."""
    return _without_overlaps([c for c in found if not c.detector.treatment.shadow])


def _escaped(token: Token) -> str:
    return str(token).replace("~", "~0").replace("/", "~1")


def _without_overlaps(found: list[_Candidate]) -> list[_Candidate]:
    """Drop what a better finding explains: the phone number in a card number.

    Of two built-in detectors on the same characters the surer one stays, of two as sure the longer
    one, then the one that comes first in the table, unless the other one's action is stricter.
    Keywords, a team's own patterns and what was not checked neither drop others nor are dropped.
    """
    own = [c for c in found if c.detector.rank < 0 or c.guessed]
    ranked = sorted(
        (c for c in found if c.detector.rank >= 0 and not c.guessed),
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


def _covers(path: tuple[str, ...], steps: tuple[str, ...]) -> bool:
    if path and path[-1] == "**":
        return len(steps) >= len(path) - 1 and _covers(path[:-1], steps[: len(path) - 1])
    return len(path) == len(steps) and all(
        pattern in ("*", step) for pattern, step in zip(path, steps, strict=True)
    )
