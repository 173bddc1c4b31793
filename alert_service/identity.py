"""What a caller from outside the mesh may say of an alert."""

from __future__ import annotations

import hashlib
import hmac

from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest

# No id that the mesh itself makes begins like that.
_PREFIX = "ext-"


def restrict_external(request: RaiseAlertRequest, hmac_key: bytes) -> None:
    """Change a request from outside to the alert that its sender may raise.

    Fields that only the mesh may set are cleared. `alert_id` becomes an HMAC of it and of all that
    was sent, with a key that nobody outside has: a repeated call has the same id, but nobody can
    take the id of another's alert, and two callers who chose the same one get an alert each.
    """
    request.ClearField("at_edge")
    request.ClearField("client")
    request.ClearField("finding_count")
    request.ClearField("violation_count")
    request.ClearField("cut")
    request.ClearField("detectors")
    if request.alert_id:
        content = request.SerializeToString(deterministic=True)
        request.alert_id = _PREFIX + hmac.new(hmac_key, content, hashlib.sha256).hexdigest()[:40]
