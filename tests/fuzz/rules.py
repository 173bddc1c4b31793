"""What must hold of every outcome, whatever was sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from google.protobuf import json_format

from sluice.ingest.v1.ingest_service_pb2 import SubmitResult
from tests.fuzz.odd import Odd

CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

LARGEST_ANSWER_BYTES = 4 * 1024 * 1024
"""More than that clients of gRPC do not take unless they are told to."""
LARGEST_REPORT_BYTES = 4 * 1024 * 1024
MOST_SECONDS_PER_KIB = 0.004
"""Of ingest's processor time: many times what text costs, a tenth of what a quadratic pattern does
at 64 KiB."""

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


def require_expected_verdict(odd: Odd, result: SubmitResult, action: str) -> None:
    """Check what became of a submission under a policy of one action."""
    taken = bool(result.task_id)
    if odd.is_broken or (odd.planted and action == "reject"):
        assert not taken, "taken, though it breaks a rule or holds what must not be sent"
    elif odd.is_broken is False:
        assert taken, ("refused, though the policy lets it through", result.error.message)
    require_nothing_planted(odd.planted, result.SerializeToString(), "an answer")


def require_expected_row(odd: Odd, row: dict[str, Any], action: str) -> None:
    """Check the row of a submission: exactly what was sent, or nothing that was found in it."""
    if row["verdict"] == "accepted" and action == "tag":
        sent = json_format.MessageToDict(odd.submission.data)
        assert json.loads(row["payload"]) == sent, "recorded with another payload"
        assert (row.get("source") or "") == odd.submission.source, "recorded with another source"
    elif action != "tag":
        require_nothing_planted(odd.planted, json.dumps(row, ensure_ascii=False).encode(), "a row")


def require_nothing_planted(planted: Iterable[str], text: bytes, where: str) -> None:
    """Check that a text holds nothing of what was planted, in its place by that name."""
    # Whoever reads this in a log must not read it there.
    assert not any(plant.encode() in text for plant in planted), f"{where} holds what was planted"


def require_as_told(
    rows: Sequence[dict[str, Any]], task_ids: Sequence[str], alert_ids: Sequence[str]
) -> None:
    """Check that there is one row for each submission that an answer tells of, and no other."""
    accepted = sorted(row["task_id"] for row in rows if row["verdict"] == "accepted")
    rejected = sorted(row["alert_id"] for row in rows if row["verdict"] == "rejected")
    assert accepted == sorted(task_ids), (len(accepted), "rows accepted", len(task_ids), "told")
    assert rejected == sorted(alert_ids), (len(rejected), "rows refused", len(alert_ids), "told")
