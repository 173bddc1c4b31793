"""What is submitted: the same submissions as JSON and as gRPC messages. Holds nothing to refuse."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format

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
