"""What must hold of every outcome, whatever was sent."""

from __future__ import annotations

import json

import grpc

CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

STATUSES = {200, 400, 404, 405, 409, 413, 415, 429, 431}

INSIDE = ("Traceback", "site-packages", ".py", "Error:", "Exception", "utf-8 codec", "DecodeError")


def require_expected_outcome(call: grpc.Call) -> None:
    """Check how a gRPC call ended."""
    assert call.code() in CODES, (call.code(), call.details())
    require_no_inside(call.details() or "")


def require_expected_answer(verb: str, status: int, media_type: str, body: bytes) -> None:
    """Check an HTTP answer: an expected status, and one shape of error."""
    assert status in STATUSES, (status, body)
    require_no_inside(body.decode("utf-8", "replace") if status != 200 else "")
    if status == 200 or verb == "HEAD" or media_type.startswith("application/grpc"):
        return
    assert media_type == "application/json", (status, media_type)
    error = json.loads(body)
    assert set(error) == {"code", "message", "details"}, error
    assert isinstance(error["code"], int)
    assert error["message"]
    assert isinstance(error["details"], list)


def require_no_inside(text: str) -> None:
    """Check that nothing of the program's inside is told."""
    assert not any(word in text for word in INSIDE), text
