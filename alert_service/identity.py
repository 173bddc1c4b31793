"""Who a caller is, and what it may say of an alert: the mesh more than anyone outside."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

# No id from within the mesh begins like that.
_PREFIX = "ext-"


def gateway_id(metadata: Any) -> str | None:
    """Return the gateway's id of a call, or None when the call came from within the mesh.

    The gateway sets it on every call that it passes on. Within the mesh nobody does.
    """
    return next((str(value) for key, value in metadata or () if key == "x-request-id"), None)


def take_from_outside(request: RaiseAlertRequest, key: bytes) -> None:
    """Make of what an outsider sent the alert that it may raise.

    Its `alert_id` only makes repeats harmless. The identity is derived from that and from all that
    was sent, by a key that nobody outside has: so nobody can take the identity of another's alert,
    before or after it was raised, and two who chose one id have an alert each. What only the mesh
    may say is passed over.
    """
    request.ClearField("at_edge")
    request.ClearField("client")
    request.ClearField("finding_count")
    request.ClearField("violation_count")
    request.ClearField("cut")
    request.ClearField("detectors")
    if request.alert_id:
        content = request.SerializeToString(deterministic=True)
        request.alert_id = _PREFIX + hmac.new(key, content, hashlib.sha256).hexdigest()[:40]
