"""Slow clients get an error within bounded time; streams live on."""

import json
from concurrent.futures import Future

import pytest

from tests.security.slow import BEYOND_EVERY_LIMIT_SECONDS
from tests.security.wire import PATIENCE_SECONDS, Exchange

Slow = dict[str, Future[Exchange]]


def reason_of(answer: Exchange) -> str:
    """Return the reason in an error of the usual shape."""
    error = json.loads(answer.body)
    assert set(error) == {"code", "message", "details"}
    return str(error["details"][0]["reason"])


@pytest.mark.parametrize("name", ["headers", "body", "batch", "alert door"])
def test_a_slow_client_is_told_408_and_sent_away(slow_exchanges: Slow, name: str) -> None:
    answer = slow_exchanges[name].result(PATIENCE_SECONDS)
    assert answer.status == 408
    assert reason_of(answer) == "REQUEST_TIMEOUT"
    assert b"connection: close" in answer.text
    assert answer.seconds < PATIENCE_SECONDS


def test_a_slow_client_of_grpc_is_sent_away_too(slow_exchanges: Slow) -> None:
    answer = slow_exchanges["gRPC body"].result(PATIENCE_SECONDS)
    assert b"grpc-status: 4\r\n" in answer.text
    assert answer.seconds < PATIENCE_SECONDS


@pytest.mark.parametrize(("name", "status"), [("unknown path", 404), ("not JSON", 415)])
def test_what_is_refused_anyway_is_not_waited_for_by_a_slow_client(
    slow_exchanges: Slow, name: str, status: int
) -> None:
    answer = slow_exchanges[name].result(PATIENCE_SECONDS)
    assert answer.status == status
    # Half of the shortest limit there is for a body.
    assert answer.seconds < 10


def test_a_stream_outlives_every_limit_for_a_slow_client(slow_exchanges: Slow) -> None:
    answer = slow_exchanges["watch"].result(PATIENCE_SECONDS)
    assert answer.text == b"LONG_WATCHED"
    assert answer.seconds > BEYOND_EVERY_LIMIT_SECONDS
