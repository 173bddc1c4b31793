"""What a scan found, and the copy of the submission that may be kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf import struct_pb2

from detection import masking
from detection.fields import Fields, Place
from detection.findings import Finding, Verdict

MAX_LISTED = 256
MAX_LISTED_BYTES = 20 * 1024
"""Of the pointers of the findings that are listed. There may be more: they are counted."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found. Its texts stay out of its ``repr``, so that no log can show them."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    """In the order of their positions: at most MAX_LISTED, of the strictest actions."""
    finding_count: int
    """How many there are; at least so many when ``masked_widely``, and where a team's own pattern
    that only notes would have had to read too much."""
    shadow: tuple[Finding, ...]
    """What rules in shadow would have found; no part of the verdict. Cut like ``findings``."""
    shadow_count: int
    """At least so many: after a few hundred of a rule no more are looked for."""
    detectors: tuple[str, ...]
    """Names of all that found something, in the order of their positions."""
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
