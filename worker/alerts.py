"""The alert service, as seen by a worker that delivers what could not be delivered at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import client
from mesh.messages import LENGTH_DELIMITED, cut_lists, length_delimited_field
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from sluice.job.v1.job_pb2 import DeliverAlert
from worker.dramatiq_queue.dead_letter import UNDECODABLE, DeadLetter
from worker.waiting import Outage

DEADLINE_SECONDS = 2.0

MAX_ALERT_BYTES = 2 * 1024 * 1024

# With these the service, or what stands for it, says that it takes no alert at the moment.
_TAKES_NONE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNIMPLEMENTED,
}

_ALERT = DeliverAlert.DESCRIPTOR.fields_by_name["alert"].number
_PAYLOAD = RaiseAlertRequest.DESCRIPTOR.fields_by_name["payload"].number


class AlertError(Exception):
    """The service takes alerts, but not this one. `reason` is an UPPER_SNAKE_CASE class."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AlertClient:
    """Calls the alert service at `target`, `host:port`."""

    def __init__(self, target: str) -> None:
        channel = grpc.insecure_channel(target, client.OPTIONS)
        self._stub = AlertServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    def deliver(self, alert: RaiseAlertRequest) -> None:
        """Return when the report of this alert is on disk; repeating it changes nothing.

        Raises DeadLetter when the service will never take it, Outage when it may later, AlertError
        when it failed although the service is well.
        """
        try:
            self._stub.RaiseAlert(alert, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
            if code is grpc.StatusCode.ALREADY_EXISTS:
                return
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                raise DeadLetter("ALERT_REFUSED") from None
            if code not in _TAKES_NONE and self._is_well():
                raise AlertError(code.name) from None
            raise Outage(code.name) from None

    def _is_well(self) -> bool:
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def parse_alert(payload: bytes) -> RaiseAlertRequest:
    """Return the alert of a serialized DeliverAlert, without what the service could not take.

    Ingest leaves that out by now; what earlier versions queued is still to be delivered. Raises
    DeadLetter for what holds no alert.
    """
    try:
        alert = DeliverAlert.FromString(payload).alert
    except DecodeError:
        alert = _without_payload(payload)
    if cut_lists(alert):
        alert.cut = True
    if alert.ByteSize() > MAX_ALERT_BYTES:
        alert.ClearField("payload")
        alert.cut = True
    return alert


def _without_payload(data: bytes) -> RaiseAlertRequest:
    """Return an alert whose payload lies too deep to be read."""
    alert = RaiseAlertRequest()
    try:
        for outer in _fields(data):
            if (outer.field_number, outer.wire_type) != (_ALERT, LENGTH_DELIMITED):
                continue
            for field in _fields(outer.data):
                if field.wire_type == LENGTH_DELIMITED and field.field_number != _PAYLOAD:
                    alert.MergeFromString(length_delimited_field(field.field_number, field.data))
    except DecodeError:
        raise DeadLetter(UNDECODABLE) from None
    if not alert.alert_id:
        raise DeadLetter(UNDECODABLE)
    alert.cut = True
    return alert


def _fields(data: bytes) -> Iterator[Any]:
    """Give the fields of a serialized message, without looking into them. Raises DecodeError."""
    yield from cast(Any, UnknownFieldSet(Empty.FromString(data)))
