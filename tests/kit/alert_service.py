"""The alert service as a process, and a client of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from sluice.alert.v1 import alert_service_pb2 as contract
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from tests.kit.error_details import detail_of, error_info
from tests.kit.health import is_serving
from tests.kit.processes import Process, free_port
from tests.kit.waiting import eventually

CANARY = "CANARY-7e2d"
DEADLINE = 10


class Service:
    """The process and a client of it."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.path = directory / "error_reports"
        self.log = directory / "log"
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics = f"http://127.0.0.1:{free_port()}/metrics"
        self.process = Process(
            [sys.executable, "-m", "alert_service"],
            self.log,
            {
                "SLUICE_LISTEN": self.address,
                "SLUICE_METRICS_LISTEN": self.metrics.split("/")[2],
                "SLUICE_REPORTS_DIR": str(self.path),
                "SLUICE_DRAIN_SECONDS": "0.2",
                "SLUICE_MAX_REPORTS": "40",
                **environment,
            },
        )
        self.channel = grpc.insecure_channel(
            self.address,
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 100),
            ],
        )
        self.stub = AlertServiceStub(self.channel)

    def start(self) -> None:
        self.process.start()
        eventually(self.serves)
        # After a stop, the client's own connection comes back a moment later.
        grpc.channel_ready_future(self.channel).result(DEADLINE)

    def close(self) -> None:
        """End the process, if it runs, and the client."""
        self.channel.close()
        self.process.stop()

    def serves(self, name: str = "sluice.alert.v1.AlertService") -> bool:
        return is_serving(self.address, name)

    def raise_alert(self, **fields: Any) -> contract.RaiseAlertResponse:
        request = RaiseAlertRequest(**({"event_type": "PII"} | fields))
        return self.stub.RaiseAlert(request, timeout=DEADLINE)

    def reports(self, folder: str = ".") -> list[str]:
        return sorted(each.name for each in (self.path / folder).glob("alert_*.txt"))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def refused(self, call: Callable[[], object]) -> tuple[grpc.StatusCode, str, list[str]]:
        """Return code, reason and fields of the error that `call` ends with."""
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        request = detail_of(error, error_details_pb2.BadRequest) or error_details_pb2.BadRequest()
        fields = [each.field for each in request.field_violations]
        return error.code(), error_info(error).reason, fields
