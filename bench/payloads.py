"""What is submitted: the same submissions as JSON and as gRPC messages. Holds nothing to refuse."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_INFO

from sluice.ingest.v1 import ingest_service_pb2 as ingest

WORDS = ("order", "basket", "paid", "shipped", "returned", "review", "north", "wednesday")

REFUSED = b'{"data": "my ssn is 123-45-6789"}'


def text(size: int) -> str:
    """Return harmless prose of `size` characters."""
    prose = " ".join(WORDS)
    return (prose * (size // len(prose) + 1))[:size]


def nested(size: int) -> dict[str, Any]:
    """Return an event of about `size` bytes of JSON: objects in lists in objects, mixed values."""
    items: list[dict[str, Any]] = []
    event = {"event": "order placed", "version": 3, "items": items}
    while len(json.dumps(event)) < size:
        number = len(items)
        items.append(
            {
                "name": f"{WORDS[number % 8]} {WORDS[number % 5]}",
                "count": number % 7 + 1,
                "price": 9.25 + number,
                "gift": number % 3 == 0,
                "options": {"color": WORDS[number % 3], "notes": ["leave at the door", None]},
            }
        )
    return event


PAYLOADS: dict[str, Any] = {
    "20 B": text(20),
    "1 KB": text(1024),
    "10 KB nested": nested(10 * 1024),
    "64 KB": text(64 * 1024),
}
"""The values of `data`, by what they are called in tables."""


def as_json(name: str) -> bytes:
    """Return the body for POST /submit."""
    return json.dumps({"data": PAYLOADS[name]}).encode()


def as_submission(name: str) -> ingest.SubmitRequest:
    """Return the message for Submit."""
    return json_format.ParseDict({"data": PAYLOADS[name]}, ingest.SubmitRequest())


def as_batch(name: str, count: int) -> bytes:
    """Return the serialized message for SubmitBatch or SubmitStream, which have the same fields."""
    submissions = [as_submission(name)] * count
    return ingest.SubmitBatchRequest(submissions=submissions).SerializeToString()


def as_export(count: int) -> bytes:
    """Return the serialized message for LogsService.Export, with records as the SDK writes them.

    No two are alike: each has a time, ids, a number and a duration of its own.
    """
    chance = random.Random(count)  # noqa: S311 - the same ones each time
    export = ExportLogsServiceRequest()
    logs = export.resource_logs.add()
    _set(
        logs.resource.attributes,
        {
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": "1.45.2",
            "service.name": "checkout",
            "service.version": "1.14.2",
            "deployment.environment.name": "production",
            "host.name": "web-7f9c",
        },
    )
    scope = logs.scope_logs.add()
    scope.scope.name = "shop.orders"
    for number in range(count):
        moment = 1_790_000_000_000_000_000 + number * 1_234_567
        record = scope.log_records.add(
            time_unix_nano=moment,
            observed_time_unix_nano=moment + 1000,
            severity_number=SEVERITY_NUMBER_INFO,
            severity_text="INFO",
            trace_id=chance.randbytes(16),
            span_id=chance.randbytes(8),
            flags=1,
        )
        record.body.string_value = f"{chance.choice(WORDS)} {chance.choice(WORDS)}, item {number}"
        _set(
            record.attributes,
            {
                "code.file.path": "/srv/shop/orders.py",
                "code.function.name": chance.choice(WORDS),
                "code.line.number": chance.choice((17, 44, 91)),
                "http.request.method": chance.choice(("GET", "POST")),
                "http.route": "/orders/{order}",
                "http.response.status_code": chance.choice((200, 201, 404)),
                "duration_ms": round(chance.random() * 100, 3),
                "order.number": f"A-{number}-{chance.choice(WORDS)}",
            },
        )
    return export.SerializeToString()


def _set(attributes: Any, values: Mapping[str, str | float]) -> None:
    """Add attributes to a record or a resource."""
    kinds = {str: "string_value", int: "int_value", float: "double_value"}
    for key, value in values.items():
        setattr(attributes.add(key=key).value, kinds[type(value)], value)
