"""Log records as submissions: with their fields, and never at the cost of the program."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from google.protobuf import json_format

from sluice_client import Client, SluiceHandler, SluiceProcessor
from tests.unit.client.scripted import Server
from tests.unit.client.test_client import NOWHERE, raising

log = logging.getLogger("program.orders")
LOGGERS = ("program", "sluice_client", "grpc")


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target) as client:
        yield client


@pytest.fixture
def handler(client: Client) -> Iterator[SluiceHandler]:
    with attached(client) as handler:
        yield handler


class attached:
    """Attach a handler for a block."""

    def __init__(self, client: Client) -> None:
        self.handler = SluiceHandler(client)

    def __enter__(self) -> SluiceHandler:
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self.handler)
        return self.handler

    def __exit__(self, *_: object) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self.handler)


def events(server: Server) -> list[Any]:
    return [
        json_format.MessageToDict(each.data)
        for piece in server.pieces
        for each in piece.submissions
    ]


class Odd:
    def __str__(self) -> str:
        log.warning("logged while a field is made a text")
        return "odd \ud800"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("broken")


def test_a_record_has_its_fields(server: Server, handler: SluiceHandler) -> None:
    log.warning("order %s", 5, extra={"order": 5, "tags": ["a"], "thing": Odd(), "raw": b"x"})
    try:
        raise KeyError("missing")
    except KeyError:
        log.exception("it failed")
    handler.flush()
    first, second = events(server)
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "WARNING",
        "logger": "program.orders",
        "message": "order 5",
        "order": 5,
        "tags": ["a"],
        "thing": "odd ?",
        "raw": "b'x'",
    }
    assert second["message"] == "it failed"
    assert second["error"].endswith("KeyError: 'missing'")


def test_what_fails_is_counted_and_breaks_nothing(
    server: Server, client: Client, handler: SluiceHandler
) -> None:
    log.warning("with a field", extra={"field": Broken()})
    # Not by the logger: pytest's own handler raises.
    handler.handle(log.makeRecord("program", 30, "", 0, "bad %d", ("arguments",), None))
    log.warning("long", extra={"field": "x" * 5_000_000})
    log.warning("good")
    client.flush()
    assert [each["message"] for each in events(server)] == ["good"]
    assert client.counts.dropped == 3


def test_a_full_queue_drops_and_does_not_wait() -> None:
    with Client(NOWHERE, max_submissions=5) as client, attached(client):
        begun = time.monotonic()
        for number in range(100):
            log.warning("number %d", number)
        assert time.monotonic() - begun < 5
        assert client.counts.dropped == 95
        client.close(0)
    log.warning("after it was closed")


def test_records_of_what_submits_are_not_submitted(server: Server, target: str) -> None:
    server.script = raising(ValueError("a server that fails makes gRPC and the client log"))
    with Client(target, deadline=1.0) as client, attached(client):
        logging.getLogger("sluice_client").error("ours")
        logging.getLogger("grpc._channel").error("gRPC's")
        log.warning("the program's")
        client.flush(20)
        time.sleep(0.5)
        assert client.counts.waiting == 0
        assert client.counts.failed == 1
        client.close(0)


@pytest.mark.usefixtures("handler")
def test_a_finalizer_that_logs_stops_nothing(client: Client) -> None:
    class Logs:
        def __del__(self) -> None:
            log.warning("finalized")

    client.submit_now("the client has begun")

    # As when the collector runs while the queue is locked.
    def finalize() -> None:
        with client._core.queue.lock:
            Logs()
            gc.collect()

    thread = threading.Thread(target=finalize, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert client.counts.dropped == 1


def test_structlog(server: Server, client: Client) -> None:
    printed = []

    def render(_logger: object, _method: str, event: Any) -> str:
        printed.append(dict(event))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[SluiceProcessor(client), render])
    logger.warning("ordered", order=5, thing=Broken)
    logger.warning("broken", thing=Broken())
    client.flush()
    assert events(server) == [
        {"level": "warning", "event": "ordered", "order": 5, "thing": str(Broken)}
    ]
    assert [each["event"] for each in printed] == ["ordered", "broken"]
    assert client.counts.dropped == 1
