"""Ingest dies, or does not hear what became of a commit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.faults.marks import COMMIT
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import ONE_OF_EACH, REDELIVERED
from tests.kit.proxies import Ending, Lost

ROWS: list[Row] = []


def kill_ingest(scene: Scene) -> None:
    victims = scene.random.sample(scene.stage.ingest, scene.random.choice((1, 2)))
    scene.lift()
    for name in victims:
        scene.kill(name)


ROWS.append(Row("ingest-kill", "kill -9 of one or both ingest processes", 10, kill_ingest))


def lose_commit_reply(scene: Scene) -> None:
    """The submission is stored, and ingest cannot know."""
    scene.lose_replies(*COMMIT)


ROWS.append(
    Row(
        "commit-reply-lost",
        "the reply to a commit of ingest is lost",
        REDELIVERED,
        lose_commit_reply,
        kind=ONE_OF_EACH,
    )
)


def kill_ingest_before_commit(scene: Scene) -> None:
    """The alert is out, the submission is not on record, and ingest is gone."""
    _kill_ingest_at_commit(scene, Lost.REQUEST)


ROWS.append(
    Row(
        "ingest-kill-before-commit",
        "kill -9 of ingest between alert and commit",
        10,
        kill_ingest_before_commit,
        kind=ONE_OF_EACH,
        rate=20,
        in_tests=False,
    )
)


def kill_ingest_after_commit(scene: Scene) -> None:
    """The submission is on record, and nobody was told."""
    _kill_ingest_at_commit(scene, Lost.REPLY)


ROWS.append(
    Row(
        "ingest-kill-after-commit",
        "kill -9 of ingest between commit and reply",
        10,
        kill_ingest_after_commit,
        kind=ONE_OF_EACH,
        rate=20,
        in_tests=False,
    )
)


def _kill_ingest_at_commit(scene: Scene, lost: Lost) -> None:
    caller = scene.caller()
    with ThreadPoolExecutor(1) as pool:
        for refused in (True, False):
            loss = scene.redis_proxy.lose(*COMMIT, lost=lost, ending=Ending.SILENCE)
            answer = pool.submit(caller.insist, caller.body(refused=refused, repeatable=True))
            scene.until(loss.struck.is_set, "ingest did not get that far")
            scene.lift()
            scene.kill("ingest_service")
            scene.expect(bool(answer.result(60).receipt), "a repeated call got no receipt")
    caller.close()
