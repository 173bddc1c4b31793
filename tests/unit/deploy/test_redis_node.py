"""A node that has lost its data forgets its place in the cluster, and gives itself to nobody."""

from pathlib import Path

import pytest

from deploy.local.redis_node import CLOSED, command

ALONE = "id1 127.0.0.1:1@2 myself,master - 0 0 0 connected\nvars currentEpoch 0\n"
MEMBER = f"id2 127.0.0.1:3@4 slave id1 0 0 0 connected\n{ALONE}"
OPEN = ["server", "conf"]
SHUT = [*OPEN, *CLOSED]


@pytest.mark.parametrize(
    ("place", "log", "started", "keeps_place"),
    [
        ("", {}, SHUT, False),
        (ALONE, {"a.1.base.rdb": "REDIS"}, SHUT, True),
        (MEMBER, {"a.1.base.rdb": "REDIS", "a.1.incr.aof": ""}, OPEN, True),
        (MEMBER, {}, SHUT, False),
        (MEMBER, {"a.1.base.rdb": "", "a.1.incr.aof": "", "a.manifest": "file"}, SHUT, False),
        ("", {"a.1.base.rdb": "REDIS"}, SHUT, False),
    ],
    ids=["new", "met nobody yet", "member", "wiped", "emptied", "place lost"],
)
def test_only_a_member_with_its_data_comes_back_as_what_it_was(
    tmp_path: Path, place: str, log: dict[str, str], started: list[str], keeps_place: bool
) -> None:
    if place:
        (tmp_path / "nodes.conf").write_text(place)
    for name, text in log.items():
        (tmp_path / "appendonlydir").mkdir(exist_ok=True)
        (tmp_path / "appendonlydir" / name).write_text(text)
    assert command("server", "conf", tmp_path) == started
    assert (tmp_path / "nodes.conf").exists() == keeps_place
