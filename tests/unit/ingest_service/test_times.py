from hypothesis import given
from hypothesis import strategies as st

from ingest_service.times import UniqueTimes


def test_times_follow_the_clock_with_the_slot_in_the_nanoseconds() -> None:
    assert UniqueTimes(7, now=lambda: 1_700_000_000_123_456_999).next() == 1_700_000_000_123_456_007


@given(st.lists(st.integers(min_value=10**18, max_value=2 * 10**18), min_size=1))
def test_times_rise_whatever_the_clock_does(readings: list[int]) -> None:
    clock = iter(readings)
    times = UniqueTimes(0, now=lambda: next(clock))
    handed_out = [times.next() for _ in readings]
    assert handed_out == sorted(set(handed_out))


def test_two_processes_never_share_a_time() -> None:
    clocks = [UniqueTimes(slot, now=lambda: 10**18) for slot in (0, 1, 999)]
    handed_out = [times.next() for _ in range(2000) for times in clocks]
    assert len(set(handed_out)) == len(handed_out)
