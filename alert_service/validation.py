"""The rules for alerts that the contract states to callers. Pure but for the clock."""

from __future__ import annotations

import re
import time

from alert_service.names import is_namable
from mesh.errors import FieldError
from mesh.messages import cut_lists
from sluice.alert.v1.alert_service_pb2 import Alert, RaiseAlertRequest

MAX_MESSAGE_CHARACTERS = 1000
MAX_AGE_SECONDS = 24 * 3600
"""How far in the past a caller from outside may date an alert."""

_ALERT_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_EVENT_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
TIME_RULE = "Send a time from year 1 to year 9998."
NAME_RULE = "Send at most 128 characters out of letters, digits and ._:/@- only."


def is_alert_id(text: str) -> bool:
    """Return whether `text` may be the id of an alert."""
    return _ALERT_ID.fullmatch(text) is not None


def is_event_type(text: str) -> bool:
    """Return whether `text` may be the type of an alert."""
    return _EVENT_TYPE.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Return whether `text` may be a source or a request id."""
    return _NAME.fullmatch(text) is not None


def fill_defaults(alert: Alert) -> Alert:
    """Set the fields that every alert has, and cut its lists to their limit. Returns `alert`.

    Reports of earlier versions lack these fields, and may have longer lists.
    """
    if cut_lists(alert):
        alert.cut = True
    alert.count = alert.count or 1
    if not alert.HasField("last_time"):
        alert.last_time.CopyFrom(alert.raise_time)
    return alert


def correct_time(request: RaiseAlertRequest, is_external: bool) -> None:
    """Set the time to now when there is none, it is in the future or, from outside, long ago.

    Such an alert would be listed before all others for ever, or far from the day it was raised.
    """
    now = time.time()
    seconds = request.raise_time.seconds
    is_old = is_external and seconds < now - MAX_AGE_SECONDS
    if not request.HasField("raise_time") or is_old or seconds > now:
        request.raise_time.FromNanoseconds(int(now * 1e9))


def violations_of(request: RaiseAlertRequest) -> list[FieldError]:
    """Return every rule that `request` breaks, none when it keeps them all.

    Descriptions never repeat what the caller sent.
    """
    found = []
    if request.alert_id and not is_alert_id(request.alert_id):
        found.append(
            FieldError(
                "/alert_id",
                "BAD_ID",
                "Send 8 to 64 characters out of letters, digits and -, or leave it out.",
            )
        )
    if not request.event_type:
        found.append(
            FieldError("/event_type", "MISSING", "event_type is missing. Say what happened.")
        )
    elif not is_event_type(request.event_type):
        found.append(
            FieldError("/event_type", "BAD_WORD", "Send UPPER_SNAKE_CASE of at most 64 characters.")
        )
    if request.HasField("raise_time") and not is_namable(request.raise_time):
        found.append(FieldError("/raise_time", "BAD_TIME", TIME_RULE))
    if request.source and not is_name(request.source):
        found.append(FieldError("/source", "BAD_NAME", NAME_RULE))
    if request.request_id and not is_name(request.request_id):
        found.append(FieldError("/request_id", "BAD_NAME", NAME_RULE))
    if len(request.message) > MAX_MESSAGE_CHARACTERS:
        found.append(FieldError("/message", "TOO_LONG", "Send at most 1000 characters."))
    return found
