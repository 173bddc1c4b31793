"""The errors that a caller gets for what was not accepted. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

import detection
from ingest_service.judgement import Judgement, Refusal
from job_store.errors import QueueFull, QueueUnavailable
from mesh.errors import MAX_FIELDS, CallError, FieldError


def refusal(judgement: Judgement, alert_id: str) -> CallError:
    """Return the error that tells a caller why a submission was refused, and names the alert."""
    if judgement.refusal is Refusal.SHAPE:
        return shape_refused(alert_id, judgement.violations)
    return content_refused(
        alert_id,
        judgement.detectors,
        [
            (finding.pointer, finding.detector)
            for finding in judgement.findings
            if finding.action is detection.Action.REJECT
        ],
    )


def shape_refused(alert_id: str, violations: Sequence[FieldError]) -> CallError:
    """Return the error for what breaks rules of shape."""
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
        "The submission breaks a rule of shape. Correct the fields named in the details.",
        metadata={"alert_id": alert_id},
        fields=violations,
    )


def content_refused(
    alert_id: str, detectors: Sequence[str], found: Sequence[tuple[str, str]]
) -> CallError:
    """Return the error for content that the policy refuses.

    `found` is the path and the detector of each finding that is a reason to refuse.
    """
    return CallError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CONTENT_REFUSED",
        "The submission holds what must not be sent: personal data, a secret or a keyword. Remove "
        "it from the fields named in the details.",
        metadata={"alert_id": alert_id, "detectors": ",".join(detectors[:MAX_FIELDS])},
        fields=[
            FieldError(
                path,
                detector.upper(),
                f"Detector {detector} found something here. Remove it or mask it.",
            )
            for path, detector in found
        ],
    )


def detection_failed() -> CallError:
    """Return the error for a submission that could not be judged."""
    return CallError(
        grpc.StatusCode.INTERNAL,
        "DETECTION_FAILED",
        "The submission could not be checked, so it was not accepted. Repeat the call; if it fails "
        "again, report the request id to the operator.",
    )


def request_id_reused() -> CallError:
    """Return the error for a request id that stands for something else."""
    return CallError(
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        "This request_id stands for another submission. Use a new one for each submission.",
    )


def not_stored(reason: QueueUnavailable | QueueFull) -> CallError:
    """Return the error for a submission that could not be recorded."""
    if isinstance(reason, QueueUnavailable):
        return CallError(
            grpc.StatusCode.UNAVAILABLE,
            "QUEUE_UNAVAILABLE",
            "The queue did not confirm, so the submission may not be stored. Repeat the call with "
            "the same request_id.",
            retry_after=1.0,
        )
    return CallError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        "The queue is full and did not take this. Repeat the call after the delay given.",
        retry_after=5.0,
    )


def not_alerted(reason: QueueUnavailable | QueueFull) -> CallError:
    """Return the error for a submission that is refused, but whose alert could not be kept."""
    if isinstance(reason, QueueUnavailable):
        return not_stored(reason)
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "ALERTS_FULL",
        "The submission cannot be refused at the moment: too many alerts wait for the alert "
        "service. Repeat the call after the delay given.",
        retry_after=5.0,
    )


def held_back() -> CallError:
    """Return the error for a submission that is stored only together with one that failed."""
    return CallError(
        grpc.StatusCode.UNAVAILABLE,
        "HELD_BACK",
        "Not stored, since another submission of this part of the batch could not be: its error "
        "says why. Repeat the batch with the same request_id.",
        retry_after=1.0,
    )
