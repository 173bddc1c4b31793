"""The alert service, as seen by a worker that delivers what could not be delivered at once."""

from __future__ import annotations

import grpc

from mesh import client
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from worker.dead_letters import DeadLetter
from worker.waiting import Outage

DEADLINE_SECONDS = 2.0


class Alerts:
    """Calls the alert service at `target`, `host:port`."""

    def __init__(self, target: str) -> None:
        self._stub = AlertServiceStub(grpc.insecure_channel(target, client.OPTIONS))

    def deliver(self, alert: RaiseAlertRequest) -> None:
        """Return when the report of this alert is on disk; repeating it changes nothing.

        Raises DeadLetter when the service will never take it, Outage when it may later.
        """
        try:
            self._stub.RaiseAlert(alert, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
            if code is grpc.StatusCode.ALREADY_EXISTS:
                return
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                raise DeadLetter("ALERT_REFUSED") from None
            raise Outage(code.name) from None
