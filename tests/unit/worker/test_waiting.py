from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import waiting
from worker.waiting import Breaker, Interrupted, Outage, Stop


def failing() -> None:
    raise Outage("DOWN")


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


def test_waits_double_up_to_a_bound_and_begin_anew_after_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    def uniform(shortest: float, longest: float) -> float:
        assert shortest == longest / 2
        waits.append(longest)
        return 0

    monkeypatch.setattr("random.uniform", uniform)
    breaker = Breaker("part", Stop())
    for _ in range(2):
        for _ in range(20):
            with pytest.raises(Outage):
                breaker.call(failing)
        breaker.call(lambda: None)
    assert waits[:20] == waits[20:]
    assert waits[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0]
    assert set(waits[6:20]) == {waiting.LONGEST_WAIT_SECONDS}


@given(st.lists(st.sampled_from(["works", "breaks", "DOWN", "OVERLOADED"])))
def test_the_reason_is_that_of_the_last_call(outcomes: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "FIRST_WAIT_SECONDS", 0)
        breaker = Breaker("part", Stop())
        for outcome in outcomes:

            def attempt(outcome: str = outcome) -> int:
                if outcome == "breaks":
                    # Whatever this is, the part answered.
                    raise ZeroDivisionError
                if outcome != "works":
                    raise Outage(outcome)
                return 7

            if outcome == "works":
                assert breaker.call(attempt) == 7
            else:
                with pytest.raises((Outage, ZeroDivisionError)):
                    breaker.call(attempt)
            assert breaker.reason == (outcome if outcome.isupper() else "")


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
