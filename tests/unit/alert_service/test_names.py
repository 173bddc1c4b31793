from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from alert_service import names


def test_a_report_is_named_by_the_time_of_its_alert() -> None:
    time = Timestamp()
    time.FromJsonString("2025-05-12T14:30:05.123456789Z")
    name = names.name_of(names.moment_of(time))
    assert name == "alert_2025-05-12T14-30-05.123456.txt"


@given(
    st.builds(
        Timestamp,
        seconds=st.integers(-62_135_596_800, 253_370_764_799),
        nanos=st.integers(0, 999_999_999),
    )
)
def test_every_namable_time_comes_back_from_its_name(time: Timestamp) -> None:
    assert names.is_namable(time)
    moment = names.moment_of(time)
    assert names.parse_name(names.name_of(moment)) == moment
    assert len(names.name_of(moment)) == len("alert_2025-05-12T14-30-05.123456.txt")


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253_370_764_800, 0), (-62_135_596_801, 0), (0, -1), (0, 1_000_000_000), (2**62, 0)],
)
def test_a_time_that_no_name_can_tell_is_not_namable(seconds: int, nanos: int) -> None:
    assert not names.is_namable(Timestamp(seconds=seconds, nanos=nanos))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "alert_.txt",
        "alert_2025-05-12T14-30-05.123456.txt.tmp",
        "alert_2025-13-12T14-30-05.123456.txt",
        "alert_2025-05-12T14-30-05.12345.txt",
        "alert_2025-05-12T14-30-05.123456.txt\n",
        "../alert_2025-05-12T14-30-05.123456.txt",
        "alert_٢٠٢٥-05-12T14-30-05.123456.txt",
    ],
)
def test_other_files_are_no_reports(name: str) -> None:
    assert names.parse_name(name) is None
