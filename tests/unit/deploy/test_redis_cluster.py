"""What CLUSTER NODES tells."""

from deploy.local.redis_cluster import parse

TOLD = """\
aa 127.0.0.1:6379@16379,host myself,master - 0 17 3 connected 0-2 7 [9->-bb]
bb 127.0.0.1:6380@16380 slave aa 0 17 3 connected
cc 127.0.0.1:6381@16381 master,fail? - 0 17 3 connected 9
dd :0@0 master,fail,noaddr - 0 17 3 disconnected
"""


def test_slots_and_replicas_are_told_apart() -> None:
    own, replica, silent, gone = parse(TOLD)
    assert (own.port, sorted(own.slots), own.is_primary) == (6379, [0, 1, 2, 7], True)
    assert (replica.primary, sorted(replica.slots), replica.is_primary) == ("aa", [], False)
    assert (sorted(silent.slots), silent.is_alive) == ([9], False)
    assert (gone.port, gone.is_alive) == (0, False)
