"""The named fields of a submission, beside its data. All that is particular to one stands here.

The rules of shape, the quick look, the scan, the record and the alert read this table, and none of
them knows a field of its own. A new field is a line here, beside those in the contract's messages
that carry it. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_NAME_RULE = "Send at most 128 characters out of letters, digits and ._:/@- only."


@dataclass(frozen=True, slots=True, eq=False)
class NamedField:
    """An optional text of a submission; where it is empty, nothing holds for it."""

    name: str
    """Of the field in SubmitRequest, and in RaiseAlertRequest where alerts show it."""
    pattern: re.Pattern[str]
    """What the whole text matches."""
    rule: str
    """What to send, told to a caller whose text does not match."""
    is_masked: bool
    """Whether what is found in it is masked, as in data. One that has to stay what it is cannot
    be: there a finding that the policy does not only note refuses the submission."""
    stored_as: str
    """Name of the field in Interaction."""
    in_alerts: bool
    """Whether alerts show it, as long as nothing was found in it."""

    @property
    def path(self) -> str:
        """The JSON pointer of the field."""
        return f"/{self.name}"


SOURCE = NamedField("source", _NAME, _NAME_RULE, True, "source", True)
"""Scanned together with the data, since the policy goes by it. All others are scanned alone."""
REQUEST_ID = NamedField("request_id", _NAME, _NAME_RULE, False, "request_id", True)

NAMED_FIELDS = (SOURCE, REQUEST_ID)


def named_texts(submission: SubmitRequest) -> list[tuple[NamedField, str]]:
    """Return the named fields that a submission has, with their texts."""
    return [(field, text) for field in NAMED_FIELDS if (text := getattr(submission, field.name))]
