"""The queue of alerts that the alert service could not take at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from google.protobuf.message import DecodeError

from job_store.admission import Admission
from job_store.envelope import pack
from job_store.keys import ALERTS, DELIVER_ALERT
from job_store.partitions import Partition, Partitions
from job_store.redis_client import repeatable
from job_store.replication import Confirmation
from job_store.scripts import script
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import DeliverAlert
from sluice.queue.v1.envelope_pb2 import Envelope


class AlertQueue:
    """Alerts to deliver, as ingest queues and reads them. Blocking and thread-safe.

    `admissions` are one for each partition. `confirming_replicas` must have on disk what is queued.
    """

    def __init__(
        self,
        partitions: Partitions,
        admissions: Sequence[Admission],
        confirming_replicas: int = 0,
    ) -> None:
        self._partitions = partitions
        self._admissions = admissions
        self._confirmation = Confirmation(confirming_replicas)
        self._enqueue = [script(each.client, "enqueue_alert") for each in partitions.all]

    def enqueue(self, alert: RaiseAlertRequest) -> None:
        """Queue an alert. Its id makes repeats harmless.

        Raises QueueUnavailable, or QueueFull when too many alerts wait or Redis is full.
        """
        payload = DeliverAlert(alert=alert).SerializeToString()
        message = pack(ALERTS, DELIVER_ALERT, alert.alert_id, payload)
        partition = self._partition_of(alert.alert_id)
        self._admissions[partition.number].add_alert(len(message), at_edge=alert.at_edge)
        keys = [partition.keys.waiting(ALERTS), partition.keys.messages(ALERTS)]
        enqueue = self._enqueue[partition.number]
        arguments = [alert.alert_id, message, int(self._confirmation.is_wanted)]
        repeatable(lambda: self._confirmation.run(enqueue, keys, arguments))

    def read(self, alert_id: str) -> RaiseAlertRequest | None:
        """Return an alert that waits for its delivery. Raises QueueUnavailable."""
        partition = self._partition_of(alert_id)
        key = partition.keys.messages(ALERTS)
        message = cast("bytes | None", repeatable(lambda: partition.client.hget(key, alert_id)))
        if message is None:
            return None
        try:
            return DeliverAlert.FromString(Envelope.FromString(message).payload).alert
        except DecodeError:
            return None

    def _partition_of(self, alert_id: str) -> Partition:
        return self._partitions.of_name(alert_id.encode())
