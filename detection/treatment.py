"""What is done about the findings of one detector, all defaults of the policy applied."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from detection.findings import Action, Confidence, Kind
from detection.policy import Allow, DetectorPolicy, ExtraPattern, Keyword, Policy, SourcePolicy

ACTIONS = {"reject": Action.REJECT, "redact": Action.REDACT, "tag": Action.TAG}
CONFIDENCES = {
    "low": Confidence.LOW,
    "medium": Confidence.MEDIUM,
    "high": Confidence.HIGH,
}
KINDS = {"pii": Kind.PII, "secret": Kind.SECRET, "keyword": Kind.KEYWORD}


class Treatment(BaseModel):
    """What a plan does about one detector's findings."""

    model_config = ConfigDict(frozen=True)

    action: Action
    minimum_confidence: Confidence
    shadow: bool
    allow: Allow


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
