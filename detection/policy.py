"""What a team decides: which findings stop a submission, and what is none of the gate's business.

A policy is one YAML file. `load_policy` checks it whole, patterns included, so that a policy in
use cannot fail; errors name the line and the reason and never quote a value.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

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

from detection.engine import Pattern, PatternError
from detection.findings import Action, Confidence, Kind
from detection.keywords import keyword_pattern
from detection.normalize import fold
from detection.patterns import KINDS

PACKAGED_POLICY = Path(__file__).with_name("policy.yaml")

MAX_POLICY_BYTES = 1024 * 1024
_DEEPEST = 16

_ESCAPE = re.compile(r"\\(?:x\{0*([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|([0-7]{2,3})|.)", re.DOTALL)
_ATOM = re.compile(r"\\.|\[(?:[^\]\\]|\\.)+\]", re.DOTALL)
_ENDLESS = re.compile(r"[*+]|\{[0-9]+,\}")
# Alternatives, repeated groups, and much behind a group, for that may stand for all that is found.
_BRANCHES = re.compile(r"\||\)[*+?{]|\((?!\?:).*\).*(?:[*+]|\{[0-9]+,\})", re.DOTALL)
_RANGE = re.compile(r"[^\x00-\x7f]-|-[^\x00-\x7f]")


# The parser in C where PyYAML has it: in Python a large file takes many seconds.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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


def _plain(pattern: str) -> str:
    """Return a pattern in the characters that texts are folded to. Raises ValueError.

    A letter with an accent becomes the letter, as it does in texts; what would become something
    else, an operator for one, cannot be written in a pattern.
    """
    composed = unicodedata.normalize("NFC", pattern)
    folded = [fold(character) for character in composed if fold(character) != character]
    if (
        any(len(plain) != 1 or not plain.isalnum() for plain in folded)
        or (folded and _RANGE.search(composed))
        or any(fold(character) != character for character in _written_as_numbers(composed))
    ):
        raise ValueError(
            "texts are matched without accents, control characters and look-alikes of letters, "
            "digits, dashes and dots: write the plain character"
        )
    return fold(composed)


def _written_as_numbers(pattern: str) -> Iterator[str]:
    """Yield the characters beyond ASCII and controls that stand as numbers in a pattern."""
    for found in _ESCAPE.finditer(pattern):
        hexadecimal, octal = found[1] or found[2], found[3]
        if hexadecimal or octal:
            point = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
            if 0xA0 <= point <= 0x10FFFF:
                yield chr(point)


def runnable(pattern: str) -> str:
    """Return the pattern that finds in a folded text what the author of ``pattern`` means.

    ``^`` and ``$`` stand for the bounds of a line, so that nothing hides behind a line end.
    """
    return "(?m)" + _plain(pattern)


def gate_of(pattern: str) -> str:
    """Return a pattern that matches in lines whenever ``runnable`` matches in one of them.

    Where a pattern asks for more than lines, everything passes.
    """
    asks_more = re.search(r"\\[Az]|\(\?[A-Za-z]*-", pattern)
    return "" if asks_more else runnable(pattern)


def may_look_far(pattern: str) -> bool:
    """Tell whether finding all that ``pattern`` matches may take longer than linear in the text.

    RE2 reads on behind a match while something longer may come, in ``a.*b|a`` to the end of the
    line, and that for every match. It cannot do so again and again where nothing repeats without
    end, or where parts simply follow each other: what one part runs over would belong to the match.
    """
    bare = _ATOM.sub("x", pattern)
    return r"\Q" in pattern or bool(_ENDLESS.search(bare) and _BRANCHES.search(bare))


def _usable_pattern(pattern: str) -> str:
    plain = _plain(pattern)
    if any(found[0] == r"\C" for found in _ESCAPE.finditer(pattern)):
        raise ValueError("\\C matches parts of characters: use . instead")
    try:
        compiled = Pattern(plain)
    except PatternError:
        raise ValueError("RE2 refuses this pattern (no look-around, no back-references)") from None
    if any(_matches_nothing(compiled, text) for text in (b"", b"a", b" ")):
        raise ValueError("this pattern matches the empty text")
    return pattern


def _matches_nothing(pattern: Pattern, text: bytes) -> bool:
    found = pattern.find(text, 0, len(text))
    return found is not None and found[0] == found[1]


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

    _lines: dict[int, int] = PrivateAttr(default_factory=dict)

    def whereabouts(self, number: int) -> str:
        """Return where pattern ``number`` stands, for a message."""
        place = f"patterns.{number}"
        return f"line {self._lines[number]}: {place}" if number in self._lines else place

    @classmethod
    def default(cls) -> Policy:
        """Return the packaged policy."""
        return _packaged()


@cache
def _packaged() -> Policy:
    return load_policy(PACKAGED_POLICY)


def load_policy(path: Path | str) -> Policy:
    """Read and check a policy file. Raises PolicyError."""
    return decode_policy(read_policy(path))


def read_policy(path: Path | str) -> bytes:
    """Return the content of a policy file. Raises PolicyError."""
    try:
        # A pipe would keep whoever opens it waiting for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PolicyError("the policy is no regular file")
            content = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"cannot read the policy file: {type(error).__name__}") from None
    if len(content) > MAX_POLICY_BYTES:
        raise PolicyError("the policy file is too long: more than 1 MiB")
    return content


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
        _require_a_flat_tree(text)
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - safe, either of them
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"line {line}: not YAML of texts, numbers, lists and mappings") from None
    except yaml.MarkedYAMLError as error:
        # What ends too early is found on the line behind the last.
        line = min(error.problem_mark.line + 1 if error.problem_mark else 1, text.count("\n") + 1)
        raise PolicyError(f"line {line}: not YAML: {error.problem or 'cannot be read'}") from None
    except PolicyError:
        raise
    except (yaml.YAMLError, ValueError, TypeError):
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
    for number in range(len(policy.patterns)):
        policy._lines[number] = _locate(root, ["patterns", number])[0]
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


def _require_a_flat_tree(text: str) -> None:
    """Raise PolicyError where what is to come is nested deeply or used twice by an alias: a few
    aliases of aliases stand for more than any memory holds."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise PolicyError(f"line {line}: aliases are not for policies; write it out instead")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise PolicyError(f"line {line}: nested too deeply for a policy")


def _repeated_keys(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            # A key that is no scalar is refused later: no setting is called so.
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item)
