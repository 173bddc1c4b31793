"""The names that a running mesh's data lies under, and that nobody else writes them down."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_store.keys import INTERACTIONS, ONLY, QUEUES, Keys

ROOT = Path(__file__).parents[3]
JOB_ID = "01JD2Q3W4R5T6Y7V8B9N0MKHGF"

A_KEY = re.compile(r"\b(dramatiq|sluice):[a-z_{*%]|__(acks|heartbeats)__")


def all_keys(keys: Keys) -> list[str]:
    """Return one of each kind."""
    return [
        keys.heartbeats,
        *keys.record(JOB_ID)[:1],
        keys.open_jobs,
        keys.counts,
        keys.causes,
        keys.request_prefix,
        keys.times,
        keys.secret,
        *[
            of(queue)
            for queue in QUEUES
            for of in (keys.waiting, keys.messages, keys.dead, keys.dead_messages)
        ],
        keys.fetched(INTERACTIONS, "worker"),
    ]


def test_the_names_are_those_that_running_meshes_use() -> None:
    assert ONLY.namespace == "dramatiq"
    assert ONLY.record(JOB_ID) == ("sluice:jobs:01JD2Q3W", "4R5T6Y7V8B9N0MKHGF")
    assert all_keys(ONLY) == [
        "dramatiq:__heartbeats__",
        "sluice:jobs:01JD2Q3W",
        "sluice:open",
        "sluice:counts",
        "sluice:dead",
        "sluice:requests:",
        "sluice:times",
        "sluice:secret",
        "dramatiq:interactions",
        "dramatiq:interactions.msgs",
        "dramatiq:interactions.XQ",
        "dramatiq:interactions.XQ.msgs",
        "dramatiq:alerts",
        "dramatiq:alerts.msgs",
        "dramatiq:alerts.XQ",
        "dramatiq:alerts.XQ.msgs",
        "dramatiq:__acks__.worker.interactions",
    ]


def test_all_keys_of_a_partition_share_its_hash_tag() -> None:
    seven = Keys("7")
    tags = {re.search(r"{(.*?)}", key) for key in all_keys(seven)}
    assert {tag and tag[1] for tag in tags} == {"7"}
    assert seven.namespace == "dramatiq:{7}"
    assert not set(all_keys(seven)) & set(all_keys(Keys("8")))


@given(st.text(min_size=1))
def test_a_record_tells_its_job(job_id: str) -> None:
    for keys in (ONLY, Keys("7")):
        assert keys.job_id(*keys.record(job_id)) == job_id


def strings(path: Path) -> list[str]:
    """Return the literal strings of a module, and of its f-strings the literal parts."""
    values = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    ]
    texts = [each.decode("latin-1") if isinstance(each, bytes) else each for each in values]
    return [text for text in texts if isinstance(text, str)]


@pytest.mark.parametrize(
    "room",
    ["alert_service", "bench", "deploy", "detection", "ingest_service", "mesh", "worker", "tests"],
)
def test_no_key_is_written_outside_the_job_store(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in (ROOT / room).rglob("*.py")
        if path != Path(__file__)
        for text in strings(path)
        if A_KEY.search(text)
    ]
    assert found == []
