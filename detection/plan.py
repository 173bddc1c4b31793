"""A policy made ready to run: its patterns compiled, and the rules for each source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detection.derived import ENCODED
from detection.detector import UNLIMITED, Check, Detector, Hit
from detection.detectors import DETECTORS
from detection.document import SEPARATOR, Document
from detection.engine import SENTINEL, Pattern, PatternSet
from detection.findings import Action, Confidence, Kind
from detection.keywords import keyword_pattern
from detection.own_patterns import may_look_far, prefilter_of, runnable
from detection.policy import Policy, SourcePolicy
from detection.treatment import CONFIDENCES, KINDS, Treatment, treatment
from detection.words import Words

WORDS: tuple[Words, ...] = tuple(
    dict.fromkeys(words for detector in DETECTORS for words in detector.words)
)
"""All that checks look for round candidates. They come first among the prefilters."""

_BUILT_IN = {detector.name: (rank, detector) for rank, detector in enumerate(DETECTORS)}

_OWN = 1 << 20
"""Added to the number of a prefilter of the team's own patterns, which have a set of their own."""


@dataclass(frozen=True, slots=True)
class PlannedRule:
    """One rule of a plan, ready to run."""

    name: str
    kind: Kind
    rank: int
    """The position of its detector in the registry, -1 for what a team brings."""
    detector: Detector | None
    prefilter: int
    """The number of its prefilter."""
    pattern: Pattern
    check: Check | Confidence
    """For a team's own pattern how sure it is: it runs over each text by itself, and every match is
    a hit."""
    step: int
    max_refused: int
    treatment: Treatment
    allowed_values: frozenset[str]
    allowed_paths: tuple[tuple[str, ...], ...]
    far: bool
    """Finding all that it matches may take longer than linear in the text."""

    @property
    def refuses(self) -> bool:
        """Tell whether its findings refuse a submission."""
        return self.treatment.action is Action.REJECT and not self.treatment.shadow

    @property
    def only_notes(self) -> bool:
        """Tell whether its findings are recorded and change nothing."""
        return self.treatment.shadow or self.treatment.action is Action.TAG


class Plan:
    """What runs for each source, and the prefilters that say what of it need not.

    Making one takes some ten milliseconds. Raises PatternError when the patterns are too large to
    run together.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._numbers: dict[str, int] = {words.source: n for n, words in enumerate(WORDS)}
        self._patterns: dict[str, Pattern] = {}
        self._rules: dict[str | None, tuple[PlannedRule, ...]] = {
            name: self._rules_for(source)
            for name, source in ((None, None), *policy.sources.items())
        }
        self.encoded = self._numbers.setdefault(ENCODED, len(self._numbers))
        """The number of the prefilter of texts that are to be decoded."""
        self._set = PatternSet(list(self._numbers))
        own = [prefilter_of(extra.pattern) for extra in policy.patterns]
        self._own_set = PatternSet(own) if own else None
        self.prefilters = frozenset(
            rule.prefilter for rules in self._rules.values() for rule in rules
        ) | {self.encoded}
        """The numbers of the prefilters, words left out that only checks look for."""

    def rules(self, source: str) -> tuple[PlannedRule, ...]:
        """Return what runs for a source, those that refuse behind all others."""
        return self._rules.get(source, self._rules[None])

    def rules_named(self, name: str) -> list[PlannedRule]:
        """Return the rules of a name for all sources."""
        return [rule for rules in self._rules.values() for rule in rules if rule.name == name]

    def matching(self, raw: bytes) -> set[int]:
        """Return the numbers of the prefilters that match in joined texts. Raises EngineError."""
        numbers = self._set.matching(raw)
        if self._own_set is not None:
            # Each text a line of its own, so that ^ and $ hold at its bounds.
            lines = raw[: -len(SENTINEL)].replace(SEPARATOR, b"\n") + b"\n" + SENTINEL
            numbers |= {_OWN + number for number in self._own_set.matching(lines)}
        return numbers

    def _rules_for(self, source: SourcePolicy | None) -> tuple[PlannedRule, ...]:
        policy = self._policy
        here = source.detectors if source is not None else {}
        planned: list[PlannedRule] = []
        for detector in DETECTORS:
            name = detector.name
            treated = treatment(policy, source, policy.detectors.get(name), here.get(name))
            if treated is None:
                continue
            planned += [
                self._planned(
                    name,
                    detector.kind,
                    self._number(rule.prefilter),
                    rule.pattern,
                    rule.check,
                    treated,
                    rule.step,
                    rule.max_refused,
                )
                for rule in detector.rules
            ]
        for keyword in policy.keywords:
            treated = treatment(policy, source, keyword, None)
            if treated is not None:
                pattern = keyword_pattern(keyword.word)
                check = _as_found(Confidence.MEDIUM)
                planned.append(
                    self._planned(
                        keyword.name, Kind.KEYWORD, self._number(pattern), pattern, check, treated
                    )
                )
        for number, extra in enumerate(policy.patterns):
            treated = treatment(policy, source, extra, None)
            if treated is not None:
                planned.append(
                    self._planned(
                        extra.name,
                        KINDS[extra.kind],
                        _OWN + number,
                        runnable(extra.pattern),
                        CONFIDENCES[extra.confidence],
                        treated,
                        far=may_look_far(extra.pattern),
                    )
                )
        # Those that refuse come last: what may explain away their findings is known by then, and
        # once a submission is surely refused the rest may be cut short.
        planned.sort(key=lambda rule: rule.refuses)
        return tuple(planned)

    def _planned(
        self,
        name: str,
        kind: Kind,
        prefilter: int,
        pattern: str,
        check: Check | Confidence,
        treated: Treatment,
        step: int = 0,
        max_refused: int = UNLIMITED,
        far: bool = False,
    ) -> PlannedRule:
        if pattern not in self._patterns:
            self._patterns[pattern] = Pattern(pattern)
        rank, detector = _BUILT_IN.get(name, (-1, None))
        return PlannedRule(
            name,
            kind,
            rank,
            detector,
            prefilter,
            self._patterns[pattern],
            check,
            step,
            max_refused,
            treated,
            frozenset(value.casefold() for value in treated.allow.values),
            tuple(tuple(path.split("/")[1:]) for path in treated.allow.paths),
            far,
        )

    def _number(self, prefilter: str) -> int:
        return self._numbers.setdefault(prefilter, len(self._numbers))


def _as_found(confidence: Confidence) -> Callable[[Document, int, int], Hit]:
    def check(doc: Document, start: int, end: int) -> Hit:
        return Hit(start, end, confidence)

    return check
