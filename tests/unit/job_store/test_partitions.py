from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot
from ulid import ULID

from job_store.keys import ONLY
from job_store.partitions import Partitions, hash_tags
from job_store.settings import StoreSettings

COUNTS = st.integers(2, 256)


def partitions(count: int) -> Partitions:
    return Partitions.of(StoreSettings(redis_partitions=count))


def test_one_redis_has_one_partition_and_keys_without_a_tag() -> None:
    (only,) = Partitions.of(StoreSettings()).all
    assert only.keys is ONLY
    assert (only.number, only.count) == (0, 1)


def test_a_cluster_has_sixteen_and_asks_nobody_until_it_is_used() -> None:
    url = "redis+cluster://user:p%40ss@127.0.0.1:1,[::1]:2,name"
    assert len(Partitions.of(StoreSettings(redis_url=url)).all) == 16


@given(COUNTS)
def test_equal_ranges_of_slots_hold_equal_numbers_of_partitions(count: int) -> None:
    tags = hash_tags(count)
    assert len(set(tags)) == count
    for primaries in (each for each in range(1, count + 1) if count % each == 0):
        held = Counter(key_slot(tag.encode()) * primaries // 16384 for tag in tags)
        assert set(held.values()) == {count // primaries}


@given(COUNTS, st.data())
def test_a_job_tells_its_partition(count: int, data: st.DataObject) -> None:
    every = partitions(count)
    partition = every.all[data.draw(st.integers(0, count - 1))]
    assert every.of_job(str(partition.new_job())) is partition


def test_jobs_of_one_moment_have_ids_of_their_own() -> None:
    partition = partitions(4).all[3]
    assert len({str(partition.new_job()) for _ in range(10_000)}) == 10_000


def test_a_job_id_of_no_partition_is_unknown() -> None:
    assert partitions(4).of_job(str(ULID.from_int(4))) is None
    alone = partitions(1)
    assert alone.of_job(str(ULID.from_int(4))) is alone.all[0]


def test_names_are_spread_over_all_partitions() -> None:
    every = partitions(16)
    held = Counter(every.of_name(b"%x" % number).number for number in range(8192))
    assert len(held) == 16
    assert max(held.values()) < 2 * min(held.values())


@pytest.mark.parametrize("count", [0, 257])
def test_numbers_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="redis_partitions"):
        StoreSettings(redis_partitions=count)
