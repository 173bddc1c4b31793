"""The scanner: asks the prefilters about all texts at once, then searches where one matches."""

from __future__ import annotations

from detection.conclusion import conclude
from detection.derived import Derived, base64_texts, decoded_texts, split_values
from detection.document import CONTROLS, SEPARATOR, Document
from detection.engine import SENTINEL, EngineError, PatternError
from detection.fields import ROOT, Fields
from detection.findings import Verdict
from detection.normalize import fold
from detection.plan import WORDS, Plan
from detection.policy import Policy, PolicyError
from detection.scan import Scan
from detection.search import Search


class Scanner:
    """A policy made ready. Compiling takes tens of milliseconds; scanning changes nothing, so one
    scanner serves all threads."""

    def __init__(self, policy: Policy) -> None:
        """Compile every pattern of ``policy`` and try it on its examples. Raises PolicyError."""
        self.policy = policy
        try:
            self._plan = Plan(policy)
            self.scan(Fields(), "")
        except (PatternError, EngineError):
            raise PolicyError("the patterns are too large to run together") from None
        for number, extra in enumerate(policy.patterns):
            where = policy.whereabouts(number)
            if any(not self._finds(extra.name, example) for example in extra.matches):
                raise PolicyError(f"{where}: {extra.name} does not find one of its `matches`")
            if any(self._finds(extra.name, example) for example in extra.not_):
                raise PolicyError(f"{where}: {extra.name} finds one of its `not`")

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
        plan = self._plan
        return not plan.prefilters.isdisjoint(plan.matching(SEPARATOR + raw + SENTINEL))

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
        matching = self._plan.matching(doc.raw)
        if self._plan.encoded in matching:
            derived += decoded_texts(doc)
            doc = _document(fields, source, derived)
            matching = self._plan.matching(doc.raw)
        rules = [rule for rule in self._plan.rules(sender) if rule.prefilter in matching]
        if not rules:
            return Scan(
                Verdict.ACCEPT, (), 0, (), 0, (), False, 0, {}, fields, source, {}, frozenset()
            )
        doc.absent = frozenset(
            [words for number, words in enumerate(WORDS) if number not in matching]
        )

        def scan_names() -> Scan:
            # Of names only, ``source`` is what is left to look through.
            fewer = Fields() if all(fields.is_key) else _names(fields)
            return self.scan(fewer, source, as_source=sender)

        search = Search(doc, derived)
        return conclude(search, search.run(rules), source, scan_names)

    def _finds(self, name: str, text: str) -> bool:
        """Tell whether the pattern of that name, wherever it is not off, finds something."""
        if not self.may_match([text]):
            return False
        doc = Document(_one(text), "", [])
        matching = self._plan.matching(doc.raw)
        search = Search(doc, [])
        rules = {rule.prefilter: rule for rule in self._plan.rules_named(name)}
        return any(search.finds(rule) for rule in rules.values() if rule.prefilter in matching)


def _document(fields: Fields, source: str, derived: list[Derived]) -> Document:
    if not derived:
        return Document(fields, source, [])
    origins = [item.parts[0][0] for item in derived]
    return Document(fields, source, [item.text for item in derived], origins)


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
