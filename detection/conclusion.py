"""The conclusion of a search: the verdict, what is listed, and what is hidden in the kept copy."""

from __future__ import annotations

from collections.abc import Callable

from detection import masking
from detection.fields import Place
from detection.findings import Action, Finding, Kind, Verdict
from detection.scan import MAX_LISTED, MAX_LISTED_BYTES, Scan
from detection.search import Candidate, Search, real

SOURCE_POINTER = "/source"


def conclude(
    search: Search, found: list[Candidate], source: str, scan_names: Callable[[], Scan]
) -> Scan:
    """Return what a search has come to.

    ``scan_names`` scans the object keys and ``source`` alone; it is asked where the search was cut.
    """
    return _Conclusion(search, source).scan(found, scan_names)


class _Conclusion:
    def __init__(self, search: Search, source: str) -> None:
        self._search = search
        self._doc = search.doc
        self._locator = search.locator
        self._source = source

    def scan(self, found: list[Candidate], scan_names: Callable[[], Scan]) -> Scan:
        doc, fields, locator = self._doc, self._doc.fields, self._locator
        shadow = [each for each in found if each.rule.treatment.shadow]
        counted = real(found)
        counted.sort(key=_start)
        shadow.sort(key=_start)
        refused = any(each.rule.refuses for each in counted)
        held: set[int] = set()
        hidden: set[int] = set()
        spans: dict[int, list[masking.Span]] = {}
        hiding: dict[str, list[Candidate]] = {}
        count = 0
        for candidate in counted:
            indices = locator.indices(candidate.start)
            count += len(indices)
            here = [index for index in indices if not self._names_a_field(candidate, index)]
            held.update(here)
            rule = candidate.rule
            if refused:
                hiding.setdefault(rule.name, []).append(candidate)
            elif rule.treatment.action is Action.REDACT:
                hiding.setdefault(rule.name, []).append(candidate)
                own = locator.spans(candidate.start, candidate.end)
                for index, start, end in (
                    *(span for span in own if span[0] in here),
                    *self._spans_beside(candidate),
                ):
                    spans.setdefault(index, []).append((start, end, rule.kind is Kind.SECRET))
        for candidates in hiding.values():
            for index, secret in self._texts_beside(candidates, refused):
                if refused:
                    held.add(index)
                else:
                    spans.setdefault(index, []).append((0, len(doc.texts[index]), secret))
        shadow_count = 0
        for candidate in shadow:
            indices = locator.indices(candidate.start)
            shadow_count += len(indices)
            hidden.update(i for i in indices if not self._names_a_field(candidate, i))
        hidden |= held
        if self._search.cut:
            # What was not looked for may be anywhere. Names are few: they are looked through.
            held.update(range(doc.source_index))
            hidden |= self._hold_names(held, scan_names)
        keys = {
            index: masking.mask_whole(fields.texts[index])
            for index in sorted(hidden)
            if index < doc.source_index and fields.is_key[index]
        }
        shown = masking.masked_keys(fields, keys)
        return Scan(
            Verdict.REJECT if refused else Verdict.ACCEPT,
            tuple(self._findings(counted, shown)),
            count,
            tuple(self._findings(shadow, shown)),
            shadow_count,
            tuple(dict.fromkeys([candidate.rule.name for candidate in counted])),
            self._search.cut or self._search.guessed,
            self._search.checked,
            shown,
            fields,
            self._source,
            spans,
            frozenset(held),
        )

    def _hold_names(self, held: set[int], scan_names: Callable[[], Scan]) -> set[int]:
        """Return the keys with a finding, and add ``source`` to ``held`` if it has one."""
        fields, source = self._doc.fields, self._doc.source_index
        if not fields.texts:
            held.add(source)
            return set()
        names = scan_names()
        if names.in_source:
            held.add(source)
        keys = [index for index, key in enumerate(fields.is_key) if key]
        if len(keys) == len(fields.texts):
            # These are nothing but names, and were too many.
            return set(keys)
        named = names.held_texts
        return {index for index in keys if fields.texts[index] in named}

    def _spans_beside(self, candidate: Candidate) -> list[tuple[int, int, int]]:
        """Return the spans of the caller's own texts that are hidden with a candidate."""
        detector = candidate.rule.detector
        if detector is None or detector.spans_beside is None:
            return []
        spans = detector.spans_beside(self._doc, candidate.start, candidate.end)
        return [own for span in spans for own in self._locator.spans(*span)]

    def _texts_beside(self, candidates: list[Candidate], refused: bool) -> list[tuple[int, bool]]:
        """Return the numbers of the texts that are hidden with the findings of one detector, and
        whether they are secrets."""
        detector = candidates[0].rule.detector
        if detector is None or detector.texts_beside is None:
            return []
        spans = [(candidate.start, candidate.end) for candidate in candidates]
        secret = detector.kind is Kind.SECRET
        return [(index, secret) for index in detector.texts_beside(self._doc, spans, refused)]

    def _names_a_field(self, candidate: Candidate, index: int) -> bool:
        """Tell whether a finding is a keyword in a key: it says what is there, not what is in it,
        and every pointer shows it."""
        doc = self._doc
        return (
            candidate.rule.kind is Kind.KEYWORD
            and index < doc.source_index
            and doc.fields.is_key[index]
        )

    def _findings(self, candidates: list[Candidate], shown: dict[Place, str]) -> list[Finding]:
        """List findings, the strictest first as long as there is room, then by position."""
        doc, locator = self._doc, self._locator
        pointers: dict[int, str] = {}
        chosen: list[Candidate] = []
        count, room = 0, MAX_LISTED_BYTES
        for candidate in sorted(candidates, key=lambda each: -each.rule.treatment.action):
            for index in locator.indices(candidate.start):
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
        chosen.sort(key=_start)
        findings: list[tuple[int, int, Finding]] = []
        for candidate in chosen:
            rule = candidate.rule
            for index, start, end in locator.spans(candidate.start, candidate.end):
                finding = Finding(
                    rule.name,
                    rule.kind,
                    pointers[index],
                    start,
                    end,
                    candidate.confidence,
                    rule.treatment.action,
                    index != doc.source_index and doc.fields.is_key[index],
                )
                findings.append((index, start, finding))
        findings.sort(key=lambda entry: entry[:2])
        return [finding for _, _, finding in findings]


def _start(candidate: Candidate) -> int:
    return candidate.start
