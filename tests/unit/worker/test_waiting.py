from __future__ import annotations

import threading
import time

import pytest

from worker import waiting
from worker.waiting import Breaker, Interrupted, Outage, Stop


def failing() -> None:
    raise Outage("DOWN")


def test_lets_calls_pass_while_the_part_works() -> None:
    assert Breaker("part", Stop()).call(lambda: 7) == 7


def test_one_caller_at_a_time_tries_a_failing_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT_SECONDS", 0.01)
    breaker = Breaker("part", Stop())
    with pytest.raises(Outage):
        breaker.call(failing)
    assert breaker.reason == "DOWN"
    running = 0
    most = 0
    calls = 0
    guard = threading.Lock()

    def attempt() -> None:
        nonlocal running, most, calls
        with guard:
            calls += 1
            running += 1
            if breaker.reason:
                most = max(most, running)
            fails = calls < 5
        time.sleep(0.01)
        with guard:
            running -= 1
        if fails:
            raise Outage("DOWN")

    def insist() -> None:
        while True:
            try:
                breaker.call(attempt)
                return
            except Outage:
                continue

    threads = [threading.Thread(target=insist) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 1
    assert breaker.reason == ""


def test_an_error_that_is_no_outage_means_the_part_answers() -> None:
    breaker = Breaker("part", Stop())
    with pytest.raises(Outage):
        breaker.call(failing)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 // 0)
    assert breaker.reason == ""


def test_a_stop_ends_the_wait() -> None:
    stop = Stop()
    breaker = Breaker("part", stop)
    for _ in range(3):
        with pytest.raises(Outage):
            breaker.call(failing)
    threading.Timer(0.05, stop.ask).start()
    with pytest.raises(Interrupted):
        while True:
            try:
                breaker.call(failing)
            except Outage:
                continue


def test_the_wait_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(waiting, "LONGEST_WAIT_SECONDS", 0.02)
    breaker = Breaker("part", Stop())
    for _ in range(20):
        began = time.monotonic()
        with pytest.raises(Outage):
            breaker.call(failing)
        assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(("stopping", "status"), [(False, 75), (True, 0)])
def test_a_crash_exits_at_once(
    monkeypatch: pytest.MonkeyPatch, stopping: bool, status: int
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    stop = Stop()
    if stopping:
        stop.ask()
    stop.crash("why")
    assert statuses == [status]
