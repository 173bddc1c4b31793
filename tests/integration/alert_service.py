"""The alert service as a process, and a client of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.alert.v1 import alert_service_pb2 as contract
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.alert.v1.alert_service_pb2_grpc import AlertServiceStub
from tests.integration.processes import ROOT, eventually, free_port

CANARY = "CANARY-7e2d"
DEADLINE = 10


class Service:
    """The process and a client of it."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.path = directory / "error_reports"
        self.log = directory / "log"
        self.port = free_port()
        self.metrics = f"http://127.0.0.1:{free_port()}/metrics"
        self._environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}",
            "SLUICE_LISTEN": f"127.0.0.1:{self.port}",
            "SLUICE_METRICS_LISTEN": self.metrics.split("/")[2],
            "SLUICE_REPORTS_DIR": str(self.path),
            "SLUICE_DRAIN_SECONDS": "0.2",
            "SLUICE_MAX_REPORTS": "40",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 100),
            ],
        )
        self.stub = AlertServiceStub(self.channel)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "alert_service"],
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=ROOT,
            )
        eventually(self.serves)

    def stop(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        """End the process, if it runs, and the client."""
        self.channel.close()
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)

    def serves(self, name: str = "sluice.alert.v1.AlertService") -> bool:
        answer = health_pb2_grpc.HealthStub(self.channel).Check(
            health_pb2.HealthCheckRequest(service=name),
            timeout=2,
            wait_for_ready=True,
        )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

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
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        reason, fields = "", []
        for packed in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if packed.Unpack(info):
                reason = info.reason
            if packed.Unpack(bad):
                fields = [each.field for each in bad.field_violations]
        return error.code(), reason, fields
