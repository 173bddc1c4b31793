"""Log records as submissions: a handler for logging, a processor for structlog.

Neither ever raises, blocks the program for a full queue, or submits what this package or gRPC logs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from sluice_client.async_client import AsyncClient
from sluice_client.client import Client
from sluice_client.core import Core
from sluice_client.errors import InvalidValue
from sluice_client.values import encode

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest are the fields that the program gave it."""
OWN = ("sluice_client", "grpc")
"""Loggers of what submits: to submit their records would make more of them."""

_FORMATTER = logging.Formatter()
_submitting = threading.local()


class SluiceHandler(logging.Handler):
    """Submits each record: `time`, `level`, `logger`, `message`, the program's own fields, and
    `error` where there was one.

    A record for which there is no room is dropped and counted (`client.counts`), whatever the
    client does about other submissions. A field that has no JSON is sent as its text. Flushing the
    handler flushes the client, for `flush_seconds` at most; closing it does not close the client.
    """

    def __init__(
        self,
        client: Client | AsyncClient,
        level: int = logging.NOTSET,
        *,
        flush_seconds: float = 5.0,
    ) -> None:
        super().__init__(level)
        self._core = client._core
        self._flush_seconds = flush_seconds

    def emit(self, record: logging.LogRecord) -> None:
        """Submit a record."""
        if record.name.split(".", 1)[0] in OWN:
            return
        _submit(self._core, lambda: self._event(record))

    def flush(self) -> None:
        """Wait until what was submitted has its outcome."""
        self._core.queue.flush(self._flush_seconds)

    def _event(self, record: logging.LogRecord) -> dict[str, object]:
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in STANDARD:
                event[name] = value
        if record.exc_info:
            event["error"] = _FORMATTER.formatException(record.exc_info)
        return event


class SluiceProcessor:
    """A processor of structlog that submits each event and passes it on unchanged.

    Put it before the renderer, behind what adds time and level. It treats events as SluiceHandler
    treats records.
    """

    def __init__(self, client: Client | AsyncClient) -> None:
        self._core = client._core

    def __call__(
        self, logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Submit an event."""
        _submit(self._core, lambda: {"level": method, **event})
        return event


def _submit(core: Core, event: Callable[[], Mapping[str, object]]) -> None:
    """Submit an event, unless that is what is being done."""
    # What is logged on the way, by a value that is turned into a text for example, stays here.
    if getattr(_submitting, "is_on", False):
        return
    _submitting.is_on = True
    try:
        found = event()
        try:
            core.offer(found)
        except InvalidValue:
            core.offer({_text(name): _sendable(value) for name, value in found.items()})
    except Exception as error:
        core.queue.drop()
        logging.getLogger("sluice_client").error("an event was dropped: %s", type(error).__name__)
    finally:
        _submitting.is_on = False


def _sendable(value: object) -> object:
    try:
        encode([value])
    except InvalidValue:
        return _text(value)
    return value


def _text(value: object) -> str:
    return str(value).encode(errors="replace").decode()
