"""The rules that an alert must keep. Pure; the contract states them to callers."""

from __future__ import annotations

import re

from alert_service.names import is_namable
from mesh.errors import FieldError
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

MAX_MESSAGE_CHARACTERS = 1000

_ALERT_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_EVENT_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_NAME_RULE = "Send at most 128 characters out of letters, digits and ._:/@- only."


def is_alert_id(text: str) -> bool:
    """Return whether `text` may be the id of an alert."""
    return _ALERT_ID.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Return whether `text` may be a source or a request id."""
    return _NAME.fullmatch(text) is not None


def violations_of(request: RaiseAlertRequest) -> list[FieldError]:
    """Return every rule that `request` breaks, none when it keeps them all.

    Descriptions never repeat what was sent.
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
    elif not _EVENT_TYPE.fullmatch(request.event_type):
        found.append(
            FieldError("/event_type", "BAD_WORD", "Send UPPER_SNAKE_CASE of at most 64 characters.")
        )
    if request.HasField("raise_time") and not is_namable(request.raise_time):
        found.append(FieldError("/raise_time", "BAD_TIME", "Send a time from year 1 to year 9998."))
    if request.source and not is_name(request.source):
        found.append(FieldError("/source", "BAD_NAME", _NAME_RULE))
    if request.request_id and not is_name(request.request_id):
        found.append(FieldError("/request_id", "BAD_NAME", _NAME_RULE))
    if len(request.message) > MAX_MESSAGE_CHARACTERS:
        found.append(FieldError("/message", "TOO_LONG", "Send at most 1000 characters."))
    return found
