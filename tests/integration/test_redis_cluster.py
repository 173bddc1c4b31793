"""The cluster that the local mesh starts: it comes up, and no node gives away what another has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.crc import key_slot

from tests.kit.redis_cluster import RedisCluster
from tests.kit.waiting import eventually

TAGS = ("a", "b", "c")
MAY = ("ACL", "DRYRUN", "default")


@pytest.fixture(name="cluster", scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_no_node_ever_has_a_replica_that_cannot_confirm(cluster: RedisCluster) -> None:
    # One that was refused PSYNC and allowed SYNC, as replicas were before they told what they have.
    for node in cluster.nodes:
        eventually(lambda port=node.port: cluster.ask(port, *MAY, "PSYNC", "?", "-1") == b"OK")  # type: ignore[misc]
        assert cluster.ask(node.port, *MAY, "SYNC") != b"OK"


def put(cluster: RedisCluster, *keys: str) -> None:
    """Write `yes` to keys of one slot, and have a replica write it to its disk as well."""

    def written() -> bool:
        with (
            cluster.client(cluster.primary_of(keys[0])) as client,
            client.pipeline(transaction=False) as pipeline,
        ):
            for key in keys:
                pipeline.set(key, "yes")
            pipeline.execute_command("WAITAOF", 1, 1, 1000)
            return bool(pipeline.execute()[-1] == [1, 1])

    eventually(written, otherwise="nothing was confirmed")


def get(cluster: RedisCluster, key: str) -> bytes | None:
    """Return what the cluster has, whoever serves it now."""

    def found() -> list[bytes | None]:
        with cluster.client(cluster.primary_of(key)) as client:
            return [client.get(key)]

    return eventually(found)[0]


def test_each_primary_has_a_share_and_a_replica(cluster: RedisCluster) -> None:
    entries = cluster.table(cluster.nodes[0].port)
    shares = sorted(len(each.slots) for each in entries)
    assert shares == [0, 0, 0, 5461, 5461, 5462]
    assert {each.primary for each in entries if not each.slots} == {
        each.id for each in entries if each.slots
    }
    for node in cluster.nodes:
        with cluster.client(node.port) as client:
            assert client.config_get("min-replicas-to-write", "appendfsync") == {
                "min-replicas-to-write": "1",
                "appendfsync": "always",
            }


def test_a_lost_primary_stops_only_its_share(cluster: RedisCluster) -> None:
    for tag in TAGS:
        put(cluster, f"before:{{{tag}}}")
    lost = cluster.primary_of("{a}")
    others = [tag for tag in TAGS if cluster.primary_of(f"{{{tag}}}") != lost]
    assert others
    with cluster.paused(lost):
        for tag in others:
            put(cluster, f"meanwhile:{{{tag}}}")
        taken = cluster.await_failover("{a}", lost)
        assert taken != lost
        assert get(cluster, "before:{a}") == b"yes"
    cluster.await_whole()


@pytest.mark.parametrize("keeps_place", [True, False], ids=["with nodes.conf", "without"])
def test_a_primary_that_comes_back_wiped_follows_its_replica(
    cluster: RedisCluster, keeps_place: bool
) -> None:
    cluster.await_whole()
    keys = [f"{number}:{{a}}" for number in range(100)]
    put(cluster, *keys)
    lost = cluster.primary_of("{a}")
    cluster.kill(lost)
    cluster.wipe(lost, keep_place=keeps_place)
    cluster.restart(lost)
    taken = cluster.await_failover("{a}", lost)
    cluster.await_whole()
    assert cluster.primary_of("{a}") == taken
    assert [get(cluster, key) for key in keys] == [b"yes"] * 100
    with cluster.client(lost) as client:
        assert client.role()[0] == b"slave"


def test_a_paused_primary_acknowledges_nothing_once_it_is_replaced(cluster: RedisCluster) -> None:
    cluster.await_whole()
    lost = cluster.primary_of("{a}")
    with cluster.paused(lost):
        cluster.await_failover("{a}", lost)
    with cluster.client(lost) as client:

        def refused() -> bool:
            try:
                client.set("late:{a}", "x")
                confirmed = client.execute_command("WAITAOF", 1, 1, 500)
                assert confirmed[1] == 0
            except redis.ResponseError as error:
                return str(error).startswith(("MOVED", str(key_slot(b"a"))))
            return False

        eventually(refused)
    cluster.await_whole()


def test_all_nodes_come_back_as_they_were(cluster: RedisCluster) -> None:
    put(cluster, "kept:{a}")
    for node in cluster.nodes:
        cluster.kill(node.port)
    for node in cluster.nodes:
        cluster.restart(node.port)
    cluster.await_whole()
    assert get(cluster, "kept:{a}") == b"yes"


def test_slots_move_to_a_primary_that_is_added(cluster: RedisCluster) -> None:
    cluster.await_whole()
    put(cluster, "moved:{a}")
    slot, source = key_slot(b"a"), cluster.primary_of("{a}")
    added = cluster.add_primary()
    cluster.move(range(slot, slot + 1), source, added)
    assert eventually(lambda: cluster.primary_of("{a}") == added)
    assert get(cluster, "moved:{a}") == b"yes"
    if cluster.move_at_once(range(slot, slot + 1), added, source):
        assert eventually(lambda: cluster.primary_of("{a}") == source)
        assert get(cluster, "moved:{a}") == b"yes"
