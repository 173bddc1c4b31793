"""The policy file changes, to a good one or a bad one."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from tests.faults.load import Answer, Caller, alert_id_of
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import Kind
from tests.kit.client import JSON
from tests.kit.logs import log_lines

ROWS: list[Row] = []

PATTERN = "project nightjar"
OTHER_PATTERN = "project osprey"


def _policy(keyword: str) -> str:
    return f"version: 1\naction: reject\nkeywords:\n  - ssn\n  - {keyword}\n"


POLICED = Kind("a policy file", {"ingest_processes": 2}, policy=_policy(PATTERN))


def spoil_policy(scene: Scene) -> None:
    """The policy file is emptied, cut off, replaced and gone, while callers are refused by it."""
    path = scene.stage.policy
    good = path.read_text()
    spoilt: list[bytes | None] = [
        b"version: 1\naction: reject\nkeywords:\n  - \xff\xfe\n",
        "version: 1\naction: reject\npatterns:\n  - name: x\n    pattern: '\uff3b'\n".encode(),
        b"version: 1\naction: off\nkeywords: [\n",
        b"- " * 10_000 + b"\n",
        None,
    ]
    spoilt = [b"", good.encode()[:-4], *scene.random.sample(spoilt, 2)]
    scene.random.shuffle(spoilt)
    for content in spoilt:
        told = _policy_complaints(scene)
        _replace(path, content, at_once=scene.random.random() < 0.5)
        scene.until(
            lambda told=told: all(  # type: ignore[misc]
                now > then for now, then in zip(_policy_complaints(scene), told, strict=True)
            ),
            f"no log says that the policy is not taken: {content!r:.40}",
            10,
        )
        scene.expect(_is_refused(scene, PATTERN), "what the old policy stops was let through")
    _replace(path, _policy(OTHER_PATTERN).encode(), at_once=True)
    scene.until(lambda: _is_refused(scene, OTHER_PATTERN), "no policy is taken up any more", 10)
    _replace(path, good.encode(), at_once=False)
    scene.until(lambda: _is_refused(scene, PATTERN), "the good policy is not taken up again", 10)
    scene.lift()


ROWS.append(
    Row(
        "policy-spoilt",
        "the policy file emptied, cut off, replaced and removed under load",
        10,
        spoil_policy,
        kind=POLICED,
    )
)


def change_policy(scene: Scene) -> None:
    """A request_id gets the answer it got, whatever the policy says by then."""
    path = scene.stage.policy
    good = path.read_text()
    caller = scene.caller()
    bodies = []
    for number in range(10):
        body = caller.body(repeatable=True)
        if number % 2:
            body["data"]["remark"] = f"about {PATTERN}"
        else:
            body["data"]["what"] = f"about {OTHER_PATTERN}"
        bodies.append(body)
    answers = [caller.insist(body) for body in bodies]
    scene.expect(
        [answer.status for answer in answers] == [200, 400] * 5, "the policy is not the first one"
    )
    for policy, word in ((_policy(OTHER_PATTERN), OTHER_PATTERN), (good, PATTERN)):
        path.write_text(policy)
        scene.until(lambda word=word: _is_refused(scene, word), "the policy was not taken up", 10)  # type: ignore[misc]
        again = [caller.insist(body) for body in bodies]
        scene.expect(again == answers, "a request_id got another answer under another policy")
        scene.expect(
            _batch(caller, bodies) == answers, "a request_id got another answer in a batch"
        )
    caller.close()
    scene.lift()


ROWS.append(
    Row(
        "policy-changed",
        "one request_id under a policy, a relaxed one and the first again",
        10,
        change_policy,
        kind=POLICED,
    )
)


def _batch(caller: Caller, bodies: list[dict[str, Any]]) -> list[Answer]:
    status, answer = caller.post("/submit:batch", {"submissions": bodies})
    if status != 200:
        return [Answer(status)]
    return [
        Answer(200, result["task_id"])
        if result.get("task_id")
        else Answer(400, alert_id_of(result["error"]))
        for result in answer["results"]
    ]


def _replace(path: Path, content: bytes | None, *, at_once: bool) -> None:
    """Give a file another content, by a new file or in the old one; None for no file."""
    if content is None:
        path.unlink()
    elif at_once:
        other = path.with_suffix(".new")
        other.write_bytes(content)
        other.replace(path)
    else:
        path.write_bytes(content)


def _policy_complaints(scene: Scene) -> list[int]:
    """Return how often each ingest process has said that it does not take a policy."""
    return [
        sum(
            line.get("level") in ("error", "warning") and "policy" in str(line.get("event"))
            for line in log_lines(scene.supervisor.logs / f"{name}.log")
        )
        for name in scene.stage.ingest
    ]


def _is_refused(scene: Scene, text: str) -> bool:
    """Tell whether each ingest process refuses a text: asked often enough to meet all of them."""
    connection = http.client.HTTPConnection(scene.mesh.gateway, timeout=10)
    try:
        for _ in range(12):
            connection.request("POST", "/scan", json.dumps({"data": text}), JSON)
            if not json.loads(connection.getresponse().read()).get("findings"):
                return False
        return True
    finally:
        connection.close()
