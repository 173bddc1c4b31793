"""Real senders of OpenTelemetry: the SDK for Python, with its exporters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from grpc import Compression
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource


def grpc_exporter(address: str, *, gzip: bool = False) -> GrpcExporter:
    """Return the exporter over gRPC to `host:port`."""
    compression = Compression.Gzip if gzip else Compression.NoCompression
    return GrpcExporter(address, insecure=True, compression=compression, timeout=15)


def http_exporter(address: str, *, gzip: bool = False) -> HttpExporter:
    """Return the exporter over HTTP to `host:port`."""
    compression = HttpCompression.Gzip if gzip else HttpCompression.NoCompression
    return HttpExporter(f"http://{address}/v1/logs", compression=compression, timeout=15)


def send(
    exporter: Any,
    bodies: Iterable[Any],
    attributes: Mapping[str, Any] | None = None,
    service: str = "shop",
) -> list[bool]:
    """Log what is given, as a program does that uses the SDK; return whether each export succeeded.

    The exporter is shut down.
    """
    results: list[bool] = []
    export = exporter.export

    def noting(batch: Any) -> Any:
        result = export(batch)
        results.append(result.name == "SUCCESS")
        return result

    exporter.export = noting
    provider = LoggerProvider(Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(exporter, max_queue_size=20_000, schedule_delay_millis=60_000)
    )
    logger = provider.get_logger("shop.orders", "2")
    for body in bodies:
        logger.emit(
            LogRecord(
                timestamp=1_790_000_000_000_000_001,
                severity_text="INFO",
                severity_number=SeverityNumber.INFO,
                body=body,
                attributes=dict(attributes or {}),
            )
        )
    provider.shutdown()
    return results
