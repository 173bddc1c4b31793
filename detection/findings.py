"""The words detection answers in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Kind(Enum):
    """What sort of thing was found."""

    PII = "PII"
    SECRET = "SECRET"  # noqa: S105 - a kind, not a secret
    KEYWORD = "KEYWORD"


class Confidence(IntEnum):
    """How sure a finding is: by its surroundings, by its shape, by a checksum."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Action(IntEnum):
    """What a policy does about a finding, from the mildest to the strictest."""

    TAG = 1
    REDACT = 2
    REJECT = 3


class Verdict(Enum):
    """What becomes of a submission."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True)
class Finding:
    """One detector's hit; it never carries the value.

    ``pointer`` is a JSON pointer relative to the submission (``/data/user/ssn``, ``/source``);
    object keys that are themselves findings are masked in it. ``start`` and ``end`` are code
    points of the text there: of the key where ``in_key``, else of the value.
    """

    detector: str
    kind: Kind
    pointer: str
    start: int
    end: int
    confidence: Confidence
    action: Action
    in_key: bool = False
