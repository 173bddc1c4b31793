"""A program that uses the Python client, and prints what it saw as one line of JSON.

`python -m bench.client_program HOST:PORT HOW SECONDS [RATE]`, with HOW one of `client` (`submit`,
event by event), `calls` (`Submit` of the stubs, from as many threads as calls may be in flight).
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial

import grpc

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from sluice_client import Client, Receipt

CALLERS = 16
EVENT = {"event": "signup", "plan": "team"}
SAMPLE_SECONDS = 5.0
MOST_TIMED = 2000.0
"""Events a second, of which the times are kept: those of more would be the memory that grows."""


def by_client(target: str, seconds: float, rate: float) -> tuple[int, list[float]]:
    """Submit event by event, `rate` a second or as fast as possible; return receipts and times."""
    times: list[float] = []
    count = 0

    def told(begun: float, future: Future[Receipt]) -> None:
        future.result()
        times.append(time.perf_counter() - begun)

    with Client(target, source="bench") as client:
        client.submit_now(EVENT)
        ends = time.perf_counter() + seconds
        due = time.perf_counter()
        while (now := time.perf_counter()) < ends:
            if rate and now < due:
                time.sleep(due - now)
            due += 1 / rate if rate else 0.0
            future = client.submit(EVENT)
            count += 1
            if 0 < rate <= MOST_TIMED:
                future.add_done_callback(partial(told, time.perf_counter()))
        client.flush()
        if client.counts.accepted != count + 1:
            sys.exit(f"not everything was accepted: {client.counts}")
    return count, times


def by_calls(target: str, seconds: float) -> tuple[int, list[float]]:
    """Make a call for each event, from threads; return how many, and how long each took."""
    times: list[float] = []
    with grpc.insecure_channel(target) as channel:
        stub = IngestServiceStub(channel)
        ends = time.perf_counter() + seconds

        def call() -> None:
            while (begun := time.perf_counter()) < ends:
                request = ingest.SubmitRequest(source="bench")
                request.data.struct_value.update(EVENT)
                stub.Submit(request, timeout=30)
                times.append(time.perf_counter() - begun)

        threads = [threading.Thread(target=call) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return len(times), times


def main() -> None:
    """Do what the command line says."""
    target, how, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    memory: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            with open("/proc/self/statm") as statm:  # noqa: PTH123
                memory.append(int(statm.read().split()[1]) * resource.getpagesize() / 2**20)

    threading.Thread(target=look, daemon=True).start()
    begun, used = time.perf_counter(), time.process_time()
    if how == "client":
        count, times = by_client(target, seconds, rate)
    else:
        count, times = by_calls(target, seconds)
    took = time.perf_counter() - begun
    ended.set()
    times.sort()
    print(
        json.dumps(
            {
                "events": count,
                "per_second": count / took,
                "client_us": (time.process_time() - used) / count * 1e6,
                "p50_ms": times[len(times) // 2] * 1e3 if times else None,
                "p99_ms": times[len(times) * 99 // 100] * 1e3 if times else None,
                "resident_mb": memory,
            }
        )
    )


if __name__ == "__main__":
    main()
