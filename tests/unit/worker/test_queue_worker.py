from __future__ import annotations

import threading
from queue import Empty

import pytest
from dramatiq import Consumer, MessageProxy

from worker.dramatiq_queue.broker import QueueBroker
from worker.dramatiq_queue.queue_worker import QueueWorker, WorkQueue
from worker.waiting import Stop


def test_work_is_waited_for_without_a_look_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WorkQueue()
    waits: list[float | None] = []
    wait = threading.Condition.wait

    def noting(condition: threading.Condition, timeout: float | None = None) -> bool:
        if condition is queue.not_empty:
            waits.append(timeout)
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", noting)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(queue.get(timeout=0.001)))
    thread.start()
    queue.put(7)
    thread.join()
    assert found == [7]
    assert set(waits) <= {None}


def test_what_is_left_is_taken_and_then_nobody_waits_any_more() -> None:
    queue = WorkQueue()
    queue.put(2)
    queue.put(1)
    queue.end()
    assert [queue.get(), queue.get()] == [1, 2]
    for block in (True, False):
        with pytest.raises(Empty):
            queue.get(block)


class EmptyQueue(Consumer):
    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __next__(self) -> MessageProxy | None:
        self._stop.wait(0.01)
        return None


def test_idle_threads_end_with_their_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    broker = QueueBroker([], 1, stop)
    monkeypatch.setattr(broker, "consume", lambda **_: EmptyQueue(stop))
    worker = QueueWorker(broker, "q", ["actor"], lambda deliveries: None, threads=3)
    before = set(threading.enumerate())
    worker.start()
    started = set(threading.enumerate()) - before
    assert len(started) == 4
    assert worker.is_alive()
    worker.stop(20)
    assert not any(each.is_alive() for each in started)
