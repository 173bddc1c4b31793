"""A program that uses the Python client as its users do: ten threads, each outcome on record.

`python -m tests.faults.client_load --gateway HOST:PORT --history FILE --prefix P --canary C
--seed N` submits until SIGTERM, then closes the client and exits. With `--spool` it may be killed:
what `submit` has taken is listed in `--taken`, and has to be recorded all the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from sluice_client import Client, Dropped, Options, Receipt, Refused, Unanswered
from tests.faults.history import History
from tests.faults.load import Caller, parser_of

THREADS = 10
CLOSE_SECONDS = 60.0


def tell(history: History, key: str, future: Future[Receipt]) -> None:
    """Put the outcome of a submission on record."""
    error = future.exception()
    if error is None:
        history.write("ok", key=key, receipt=future.result().task_id)
    elif isinstance(error, Refused):
        history.write("fail", key=key, receipt=error.alert_id)
    elif isinstance(error, Dropped) or (isinstance(error, Unanswered) and not error.may_be_stored):
        history.write("fail", key=key)
    else:
        history.write("info", key=key)
        if not isinstance(error, Unanswered):
            history.write("surprise", key=key, what=str(error))


def submit(client: Client, caller: Caller, history: History, taken: History | None) -> None:
    """Submit one event of any kind."""
    body = caller.any_body()
    caller.invoke(body)
    future = client.submit(
        body["data"], source=body.get("source"), request_id=body.get("request_id")
    )
    if taken is not None:
        taken.write("taken", key=body["data"]["key"])
    future.add_done_callback(partial(tell, history, body["data"]["key"]))


def main() -> None:
    """Submit until SIGTERM, or until whoever started this is gone."""
    parser = parser_of("tests.faults.client_load", __doc__)
    parser.add_argument("--name", default="client")
    parser.add_argument("--rate", type=float, default=300.0, help="events a second, all together")
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--taken", type=Path)
    parser.add_argument("--drop", action="store_true", help="drop what there is no room for")
    parser.add_argument("--forks", action="store_true", help="make children that submit, too")
    options = parser.parse_args()
    stop = threading.Event()
    runner = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    history = History(options.history)
    taken = None if options.taken is None else History(options.taken)
    settings: Options = {"deadline": 120.0}
    if options.spool is not None:
        settings["spool"] = options.spool
    if options.drop:
        settings |= {"when_full": "drop", "max_submissions": 100}
    client = Client(options.gateway, **settings)

    def caller(name: str) -> Caller:
        return Caller(
            options.gateway,
            history,
            options.prefix,
            options.canary,
            f"{options.name}-{name}",
            options.seed,
        )

    def work(number: int) -> None:
        own = caller(str(number))
        while not stop.wait(own.random.expovariate(options.rate / THREADS)):
            submit(client, own, history, taken)

    client.recovered()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    children: dict[int, str] = {}
    while not stop.wait(0.3) and os.getppid() == runner:
        if options.forks and len(children) < 10:
            name = f"child{len(children)}"
            if (pid := os.fork()) == 0:
                _child(client, caller(name), history)
            children[pid] = name
    stop.set()
    for thread in threads:
        thread.join()
    for pid, name in children.items():
        if os.waitpid(pid, 0)[1]:
            history.write("surprise", key=name, what="a child failed")
    client.close(CLOSE_SECONDS)
    counts: Any = client.counts
    if counts.dropped + counts.failed != _fails(options.history, options.name):
        history.write("surprise", key=options.name, what=f"miscounted: {counts}")
    history.close()


def _child(client: Client, caller: Caller, history: History) -> None:
    """Submit as a child does, and end without a word to the parent's part of the memory."""
    status = 1
    try:
        for _ in range(30):
            submit(client, caller, history, None)
        client.close(CLOSE_SECONDS)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _fails(path: Path, name: str) -> int:
    """Return how many submissions of this process were dropped or not answered."""
    return sum(
        f".{name}-" in line
        and "child" not in line
        and ('"event": "info"' in line or ('"event": "fail"' in line and "receipt" not in line))
        for line in path.read_text().splitlines()
    )


if __name__ == "__main__":
    main()
