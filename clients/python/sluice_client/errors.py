"""What a submission or a call can come to, other than a receipt. No text repeats what was sent."""

from __future__ import annotations

from dataclasses import dataclass

import grpc


class SluiceError(Exception):
    """Any error of this package."""


class InvalidValue(SluiceError, ValueError):
    """The value has no form in which it could be sent.

    `path` is a JSON pointer (RFC 6901) to what has none, beginning with `/data`, with `?` for a key
    that is no plain name; `problem` says why and what to send instead.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class QueueFull(SluiceError):
    """There was no room for the submission, so it was not taken. It may be submitted again."""


class Closed(SluiceError):
    """The client is closed, so the submission was not taken."""


class SpoolFailed(SluiceError):
    """The spool could not be written or read. What was submitted just then was not taken."""


class Dropped(SluiceError):
    """There was no room for the submission, and the client drops what it has no room for."""


class Unanswered(SluiceError):
    """No answer came in time.

    `may_be_stored` is False when it was never sent. Otherwise it may be on record: submit it again
    only if it had a request_id of its own, and with that.
    """

    def __init__(self, problem: str, may_be_stored: bool) -> None:
        super().__init__(problem, may_be_stored)
        self.problem = problem
        self.may_be_stored = may_be_stored

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class RefusedField:
    """One field for which a submission was refused.

    `path` is a JSON pointer into the submission, `reason` a detector or a rule of shape in
    UPPER_SNAKE_CASE, `description` says what to send instead.
    """

    path: str
    reason: str
    description: str


class CallFailed(SluiceError):
    """The server refused the call; to repeat it as it is would not help.

    `code` is the status of gRPC, `reason` a stable word for programs, `message` a sentence for
    people, `request_id` what the server's logs call it.
    """

    def __init__(
        self, code: grpc.StatusCode, reason: str, message: str, request_id: str = ""
    ) -> None:
        super().__init__(code, reason, message, request_id)
        self.code = code
        self.reason = reason
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"


class Refused(CallFailed):
    """The submission was refused for its content or its shape; an alert was raised.

    `reason` is CONTENT_REFUSED or INVALID_INPUT. `fields` are the first of `field_count`.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        request_id: str,
        alert_id: str,
        detectors: tuple[str, ...],
        fields: tuple[RefusedField, ...],
        field_count: int,
    ) -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, reason, message, request_id)
        # So that it can be pickled.
        self.args = (reason, message, request_id, alert_id, detectors, fields, field_count)
        self.alert_id = alert_id
        self.detectors = detectors
        self.fields = fields
        self.field_count = field_count

    def __str__(self) -> str:
        named = ", ".join(f"{each.path} ({each.reason.lower()})" for each in self.fields)
        more = f" and {self.field_count - len(self.fields)} more" * (
            self.field_count > len(self.fields)
        )
        return f"{self.reason}: {named}{more}; alert {self.alert_id}"
