"""Callers: real submissions through the gateway, each with a value of its own, each on record.

`python -m tests.faults.load --gateway HOST:PORT --history FILE --prefix P --canary C --seed N`
calls until SIGTERM, then ends what it began and exits.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.history import History, digest

THREADS = 6
CALL_SECONDS = 15.0
RETRY_SECONDS = 45.0
"""How long a caller with a request_id repeats a call that got no answer."""

SECRET = "123-45-6789"
"""A social security number that no one has: what makes a submission be refused."""

WORDS = ("sign-up", "log-out", "purchase", "refund", "page view", "password changed", "Käse ☃")


@dataclass(frozen=True)
class Answer:
    """The end of one call: 0 stands for no answer."""

    status: int
    receipt: str = ""


class Caller:
    """One caller with one connection. Not thread-safe.

    Its keys are `prefix`, `name` and a number; every payload holds `canary`.
    """

    def __init__(
        self, gateway: str, history: History, prefix: str, canary: str, name: str, seed: int
    ) -> None:
        self._gateway = gateway
        self._history = history
        self._prefix = prefix
        self._canary = canary
        self._name = name
        self._count = 0
        self.random = random.Random(f"{seed} {name}")
        self._connection: http.client.HTTPConnection | None = None

    def body(
        self, *, refused: bool = False, repeatable: bool = False, source: bool = False
    ) -> dict[str, Any]:
        """Return the body of a new submission."""
        self._count += 1
        key = f"{self._prefix}{self._name}.{self._count}"
        data: dict[str, Any] = {
            "key": key,
            "note": self._canary,
            "what": self.random.choice(WORDS),
            "amount": self.random.randrange(1000) + 0.25,
        }
        if refused:
            data["remark"] = f"my ssn is {SECRET}"
        body: dict[str, Any] = {"data": data}
        if repeatable:
            body["request_id"] = key
        if source:
            body["source"] = "faults"
        return body

    def any_body(self) -> dict[str, Any]:
        """Return a body of any kind."""
        return self.body(
            refused=self.random.random() < 0.25,
            repeatable=self.random.random() < 0.6,
            source=self.random.random() < 0.2,
        )

    def invoke(self, body: dict[str, Any]) -> None:
        """Put on record that `body` is about to be sent."""
        self._history.write(
            "invoke",
            key=body["data"]["key"],
            kind="refused" if "remark" in body["data"] else "accepted",
            hash=digest(body["data"]),
            has_source="source" in body,
        )

    def submit(self, body: dict[str, Any]) -> Answer:
        """Make one call and put it on record."""
        self.invoke(body)
        try:
            status, answer = self.post("/submit", body)
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            status, answer = 0, {}
        return self.note(body, status, answer)

    def note(self, body: dict[str, Any], status: int, answer: dict[str, Any]) -> Answer:
        """Put the end of a call on record."""
        key = body["data"]["key"]
        refused = "remark" in body["data"]
        receipt = ""
        if status == 200 and not refused:
            receipt = answer["task_id"]
            self._history.write("ok", key=key, receipt=receipt)
        elif status == 400 and refused:
            receipt = alert_id_of(answer)
            self._history.write("fail", key=key, status=status, receipt=receipt)
            if not receipt:
                self._history.write("surprise", key=key, what="refused without an alert")
        elif status == 429:
            self._history.write("fail", key=key, status=status)
        else:
            self._history.write("info", key=key, status=status)
            if status not in (0, 503, 504):
                self._history.write("surprise", key=key, what=f"status {status}")
        return Answer(status, receipt)

    def insist(self, body: dict[str, Any], stop_after: float = RETRY_SECONDS) -> Answer:
        """Make a call, and repeat it by its request_id until it has an answer."""
        deadline = time.monotonic() + stop_after
        answer = self.submit(body)
        while (
            "request_id" in body
            and not answer.receipt
            and answer.status in (0, 429, 503, 504)
            and time.monotonic() < deadline
        ):
            time.sleep(self.random.uniform(0.1, 0.3))
            answer = self.submit(body)
        return answer

    def submit_batch(self, bodies: list[dict[str, Any]]) -> None:
        """Send many submissions in one call, none of which is to be refused."""
        for body in bodies:
            self.invoke(body)
        try:
            status, answer = self.post("/submit:batch", {"submissions": bodies})
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            status, answer = 0, {}
        results = answer.get("results") or [{}] * len(bodies)
        for body, result in zip(bodies, results, strict=True):
            taken = bool(result.get("task_id"))
            self.note(body, 200 if taken else 503 if status == 200 else status, result)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Make one call that is on no record."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._gateway, timeout=CALL_SECONDS)
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def alert_id_of(answer: dict[str, Any]) -> str:
    """Return the alert that a refusal names, or nothing."""
    for detail in answer.get("details", ()):
        if detail["@type"].endswith(".ErrorInfo"):
            return str(detail["metadata"].get("alert_id", ""))
    return ""


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what any load is told: see tests.faults.scene.Scene.load_command."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--canary", required=True)
    parser.add_argument("--seed", type=int, required=True)
    return parser


def main() -> None:
    """Call until SIGTERM, or until whoever started this is gone."""
    parser = parser_of("tests.faults.load", __doc__)
    parser.add_argument("--rate", type=float, default=80.0, help="calls a second, all together")
    options = parser.parse_args()
    stop = threading.Event()
    runner = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    history = History(options.history)

    def call(number: int) -> None:
        caller = Caller(
            options.gateway,
            history,
            options.prefix,
            options.canary,
            "abcdefghijkl"[number],
            options.seed,
        )
        rate = options.rate / THREADS
        while not stop.wait(caller.random.expovariate(rate)) and os.getppid() == runner:
            caller.insist(caller.any_body())
        caller.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history.close()


if __name__ == "__main__":
    main()
