"""The queue of alerts that the alert service could not take at once."""

from __future__ import annotations

from typing import cast

import redis
from google.protobuf.message import DecodeError

from job_store.admission import Admission
from job_store.envelope import pack
from job_store.keys import ALERTS, DELIVER_ALERT, ONLY, Keys
from job_store.redis_client import repeatable
from job_store.scripts import script
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import DeliverAlert
from sluice.queue.v1.envelope_pb2 import Envelope


class AlertQueue:
    """Alerts to deliver, as ingest queues and reads them. Blocking and thread-safe."""

    def __init__(self, client: redis.Redis, admission: Admission, keys: Keys = ONLY) -> None:
        self._client = client
        self._admission = admission
        self._keys = keys
        self._enqueue = script(client, "enqueue_alert")

    def enqueue(self, alert: RaiseAlertRequest) -> None:
        """Queue an alert. Its id makes repeats harmless.

        Raises QueueUnavailable, or QueueFull when too many alerts wait or Redis is full.
        """
        payload = DeliverAlert(alert=alert).SerializeToString()
        message = pack(ALERTS, DELIVER_ALERT, alert.alert_id, payload)
        self._admission.add_alert(len(message), at_edge=alert.at_edge)
        keys = [self._keys.waiting(ALERTS), self._keys.messages(ALERTS)]
        repeatable(lambda: self._enqueue(keys, [alert.alert_id, message]))

    def read(self, alert_id: str) -> RaiseAlertRequest | None:
        """Return an alert that waits for its delivery. Raises QueueUnavailable."""
        key = self._keys.messages(ALERTS)
        message = cast("bytes | None", repeatable(lambda: self._client.hget(key, alert_id)))
        if message is None:
            return None
        try:
            return DeliverAlert.FromString(Envelope.FromString(message).payload).alert
        except DecodeError:
            return None
