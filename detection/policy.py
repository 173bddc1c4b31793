"""What a team decides: which findings stop a submission, and which do not matter.

A policy is one YAML text. `parse_policy` checks it whole, patterns included, so that a policy in
use cannot fail; errors name the line and the reason and never quote a value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from detection.detectors import DETECTORS
from detection.engine import Pattern, PatternError
from detection.keywords import keyword_pattern
from detection.normalize import fold
from detection.own_patterns import usable_pattern
from detection.strict_yaml import YamlError, locate, parse

_DETECTOR_NAMES = frozenset(detector.name for detector in DETECTORS)


class PolicyError(ValueError):
    """A policy cannot be used. The text says where and why, and quotes keys only, no values."""


def _lower(value: object) -> object:
    # YAML reads a bare `off` as false.
    if value is False:
        return "off"
    return value.lower() if isinstance(value, str) else value


def _known_detector(name: str) -> str:
    if name not in _DETECTOR_NAMES:
        raise ValueError("no such detector")
    return name


def _usable_keyword(word: str) -> str:
    if not fold(word).strip():
        raise ValueError("not usable as a keyword: nothing of it can be seen")
    try:
        Pattern(keyword_pattern(word))
    except PatternError:
        raise ValueError("not usable as a keyword") from None
    return word


def _usable_path(path: str) -> str:
    if path.split("/")[:2] not in (["", "data"], ["", "source"]):
        raise ValueError("a path starts with /data or /source, such as /data/user/*")
    return path


ActionName = Annotated[Literal["reject", "redact", "tag", "off"], BeforeValidator(_lower)]
ConfidenceName = Annotated[Literal["low", "medium", "high"], BeforeValidator(_lower)]
KindName = Annotated[Literal["pii", "secret", "keyword"], BeforeValidator(_lower)]
DetectorName = Annotated[str, AfterValidator(_known_detector)]
OwnName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
AllowedPath = Annotated[str, AfterValidator(_usable_path)]
KeywordText = Annotated[
    str,
    StringConstraints(min_length=2, max_length=128, strip_whitespace=True),
    AfterValidator(_usable_keyword),
]
PatternText = Annotated[
    str, StringConstraints(min_length=1, max_length=1024), AfterValidator(usable_pattern)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Allow(_Strict):
    """What is not reported: values by their exact text (in any case), places by their path.

    A path is a JSON pointer; ``*`` stands for any one step and a last ``**`` for all below.
    """

    values: tuple[str, ...] = ()
    paths: tuple[AllowedPath, ...] = ()


class DetectorPolicy(_Strict):
    """What is done about the findings of one detector; unset means the policy's default."""

    action: ActionName | None = None
    minimum_confidence: ConfidenceName | None = None
    shadow: bool = False
    allow: Allow = Allow()


class Keyword(_Strict):
    """One word or phrase of the team's own."""

    word: KeywordText
    name: OwnName = "keyword"
    action: ActionName | None = None
    shadow: bool = False
    allow: Allow = Allow()


class ExtraPattern(_Strict):
    """One pattern of the team's own, in RE2 syntax; a first group, if any, is the finding.

    It runs over each text by itself: ``^`` and ``$`` are the bounds of a line, ``\\A`` and ``\\z``
    those of the text. In each of ``matches`` it must find something, in each of ``not`` nothing.
    """

    name: OwnName
    pattern: PatternText
    matches: tuple[str, ...] = ()
    not_: tuple[str, ...] = Field(default=(), alias="not")
    kind: KindName = "pii"
    confidence: ConfidenceName = "medium"
    action: ActionName | None = None
    shadow: bool = False
    allow: Allow = Allow()


class SourcePolicy(_Strict):
    """What is different for submissions of one source. A source is what the caller says it is:
    do not make the policy milder for one unless every caller may have it so."""

    action: ActionName | None = None
    minimum_confidence: ConfidenceName | None = None
    detectors: dict[DetectorName, DetectorPolicy] = Field(default_factory=dict)
    allow: Allow = Allow()


def _as_keyword(value: object) -> object:
    return {"word": value} if isinstance(value, str) else value


class Policy(_Strict):
    """A whole policy. Immutable."""

    version: Literal[1] = 1
    action: ActionName = "reject"
    minimum_confidence: ConfidenceName = "low"
    detectors: dict[DetectorName, DetectorPolicy] = Field(default_factory=dict)
    keywords: tuple[Annotated[Keyword, BeforeValidator(_as_keyword)], ...] = ()
    patterns: tuple[ExtraPattern, ...] = ()
    allow: Allow = Allow()
    sources: dict[str, SourcePolicy] = Field(default_factory=dict)
    split_values: bool = True
    decode_base64: bool = False

    _lines: dict[int, int] = PrivateAttr(default_factory=dict)

    def whereabouts(self, number: int) -> str:
        """Return where pattern ``number`` stands, for a message."""
        name = f"patterns.{number}"
        return f"line {self._lines[number]}: {name}" if number in self._lines else name


def decode_policy(content: bytes) -> Policy:
    """Check the content of a policy file. Raises PolicyError."""
    try:
        return parse_policy(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"line {line}: not UTF-8") from None


def parse_policy(text: str) -> Policy:
    """Check the text of a policy file. Raises PolicyError."""
    try:
        content, root = parse(text)
    except YamlError as error:
        raise PolicyError(str(error)) from None
    if content is None:
        return Policy()
    if not isinstance(content, dict):
        raise PolicyError("line 1: a policy is a mapping of settings")
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(_explain(error, root)) from None
    for number in range(len(policy.patterns)):
        policy._lines[number] = locate(root, ["patterns", number])[0]
    names = [pattern.name for pattern in policy.patterns]
    for name in names:
        if names.count(name) > 1 or name in _DETECTOR_NAMES or name == "keyword":
            raise PolicyError(f"patterns: the name {name} is taken")
    return policy


def _explain(error: ValidationError, root: yaml.Node | None) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = [step for step in first["loc"] if not str(step).startswith(("function-", "literal"))]
    line, shown = locate(root, steps)
    where = f"line {line}: " + ".".join(str(step) for step in shown if step != "[key]")
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}"
