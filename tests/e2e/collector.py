"""Log records that pass through an OpenTelemetry Collector. Run by `make test-collector`.

The Collector is whatever program COLLECTOR names. The distribution called otelcol has what it
takes: the receiver otlp and the exporters otlp and otlphttp.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit import otel
from tests.kit.client import Client, marker
from tests.kit.processes import free_port
from tests.kit.waiting import eventually

CONFIG = """
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{port}}}}}}}
exporters:
  otlp: {{endpoint: {gateway}, tls: {{insecure: true}}}}
  otlphttp: {{endpoint: "http://{gateway}"}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [{exporter}]}}
"""


@pytest.fixture(scope="session")
def program() -> str:
    name = os.environ.get("COLLECTOR") or "otelcol"
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"There is no {name} here: put the OpenTelemetry Collector on PATH, or name it with "
            "make test-collector COLLECTOR=/path/to/otelcol."
        )
    return found


def connects(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


@pytest.mark.parametrize("exporter", ["otlp", "otlphttp"])
def test_what_passes_a_collector_is_recorded(
    client: Client, program: str, exporter: str, tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "collector.yaml"
    config.write_text(CONFIG.format(port=port, gateway=client.mesh.gateway, exporter=exporter))
    text = marker()
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = client.rows(f"payload =~ /{text}/")
        return len(found) >= 600

    with subprocess.Popen([program, "--config", str(config)]) as collector:
        try:
            eventually(lambda: connects(port), 30)
            bodies = [f"{text} {number}" for number in range(600)]
            assert all(otel.send(otel.grpc_exporter(f"127.0.0.1:{port}"), bodies, {"a": [1, "b"]}))
            eventually(look, 30)
        finally:
            collector.terminate()
    assert len(found) == 600
    assert json.loads(found[0]["payload"])["attributes"] == {"a": [1, "b"]}
    assert {row["source"] for row in found} == {"shop"}
