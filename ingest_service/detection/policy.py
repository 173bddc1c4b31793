"""What a team decides: which findings stop a submission, and what is none of the gate's business.

A policy is one YAML file. `load_policy` checks it whole, patterns included, so that a policy in
use cannot fail; errors name the line and the reason and never quote a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from ingest_service.detection.engine import Pattern, PatternError
from ingest_service.detection.findings import Action, Confidence, Kind
from ingest_service.detection.keywords import keyword_pattern
from ingest_service.detection.patterns import KINDS

PACKAGED_POLICY = Path(__file__).with_name("policy.yaml")


class PolicyError(ValueError):
    """A policy cannot be used. The text says where and why, and quotes keys only, no values."""


def _lower(value: object) -> object:
    # YAML reads a bare `off` as false.
    if value is False:
        return "off"
    return value.lower() if isinstance(value, str) else value


def _known_detector(name: str) -> str:
    if name not in KINDS:
        raise ValueError("no such detector")
    return name


def _usable_pattern(pattern: str) -> str:
    try:
        compiled = Pattern(pattern)
    except PatternError:
        raise ValueError("RE2 refuses this pattern (no look-around, no back-references)") from None
    if compiled.occurs(b"", 0, 0):
        raise ValueError("this pattern matches the empty text")
    return pattern


def _usable_keyword(word: str) -> str:
    try:
        Pattern(keyword_pattern(word))
    except (PatternError, IndexError):
        raise ValueError("not usable as a keyword") from None
    return word


def _usable_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("a path starts with /, such as /data/user/* or /source")
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
    str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_usable_pattern)
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
    """One pattern of the team's own, in RE2 syntax; a first group, if any, is the finding."""

    name: OwnName
    pattern: PatternText
    kind: KindName = "pii"
    confidence: ConfidenceName = "medium"
    action: ActionName | None = None
    shadow: bool = False
    allow: Allow = Allow()


class SourcePolicy(_Strict):
    """What is different for submissions of one source. Everyone can write a source: a caller who
    may not name himself must not be given a milder policy by it."""

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

    @classmethod
    def default(cls) -> Policy:
        """Return the packaged policy."""
        return _packaged()


@cache
def _packaged() -> Policy:
    return load_policy(PACKAGED_POLICY)


def load_policy(path: Path | str) -> Policy:
    """Read and check a policy file. Raises PolicyError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"cannot read the policy file: {type(error).__name__}") from None
    return parse_policy(text)


def parse_policy(text: str) -> Policy:
    """Check the text of a policy file. Raises PolicyError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"line {line}: not YAML: {error.problem or 'cannot be read'}") from None
    except (yaml.YAMLError, ValueError):
        raise PolicyError("not YAML") from None
    if content is None:
        return Policy()
    if not isinstance(content, dict):
        raise PolicyError("line 1: a policy is a mapping of settings")
    repeated = next(_repeated_keys(root), None)
    if repeated is not None:
        raise PolicyError(f"line {repeated.start_mark.line + 1}: a key is given twice")
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(_explain(error, root)) from None
    names = [pattern.name for pattern in policy.patterns]
    for name in names:
        if names.count(name) > 1 or name in KINDS or name == "keyword":
            raise PolicyError(f"patterns: the name {name} is taken")
    return policy


class Treatment(_Strict):
    """What a plan does about one detector's findings, all defaults applied."""

    action: Action
    minimum_confidence: Confidence
    shadow: bool
    allow: Allow


ACTIONS = {"reject": Action.REJECT, "redact": Action.REDACT, "tag": Action.TAG}
CONFIDENCES = {
    "low": Confidence.LOW,
    "medium": Confidence.MEDIUM,
    "high": Confidence.HIGH,
}
KIND_NAMES = {"pii": Kind.PII, "secret": Kind.SECRET, "keyword": Kind.KEYWORD}


def treatment(
    policy: Policy,
    source: SourcePolicy | None,
    own: DetectorPolicy | Keyword | ExtraPattern | None,
    here: DetectorPolicy | None,
) -> Treatment | None:
    """Return what is done about one detector's findings, or None where it is off.

    ``own`` is what the policy says about the detector, ``here`` what the source's part says.
    What is said closest wins; allowances add up.
    """
    levels = [level for level in (here, own) if level is not None]
    action = next((level.action for level in levels if level.action is not None), None)
    if action is None:
        action = source.action if source is not None and source.action else policy.action
    if action == "off":
        return None
    minimum = next(
        (
            level.minimum_confidence
            for level in levels
            if isinstance(level, DetectorPolicy) and level.minimum_confidence is not None
        ),
        None,
    )
    if minimum is None:
        wide = source.minimum_confidence if source is not None else None
        minimum = wide or policy.minimum_confidence
    allows = [policy.allow, *(level.allow for level in levels)]
    if source is not None:
        allows.append(source.allow)
    return Treatment(
        action=ACTIONS[action],
        minimum_confidence=CONFIDENCES[minimum],
        shadow=any(level.shadow for level in levels),
        allow=Allow(
            values=tuple(value for allow in allows for value in allow.values),
            paths=tuple(path for allow in allows for path in allow.paths),
        ),
    )


def _explain(error: ValidationError, root: yaml.Node | None) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = [step for step in first["loc"] if not str(step).startswith(("function-", "literal"))]
    line, shown = _locate(root, steps)
    where = f"line {line}: " + ".".join(str(step) for step in shown if step != "[key]")
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}"


def _locate(root: yaml.Node | None, steps: list[str | int]) -> tuple[int, list[str | int]]:
    line, node, shown = 1, root, list[str | int]()
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            pair = next((p for p in node.value if p[0].value == str(step)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
        shown.append(step)
    if len(shown) < len(steps) and isinstance(steps[len(shown)], str):
        shown.append(steps[len(shown)])
    return line, shown


def _repeated_keys(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item)
