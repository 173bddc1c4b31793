from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from alert_service import names
from alert_service.names import ReportKey


def test_a_report_is_named_by_the_time_of_its_alert() -> None:
    time = Timestamp()
    time.FromJsonString("2025-05-12T14:30:05.123456789Z")
    moment = names.moment_of(time)
    assert ReportKey(moment, False).name == "alert_2025-05-12T14-30-05.123456.txt"
    assert ReportKey(moment, True).name == "edge/alert_2025-05-12T14-30-05.123456.txt"
    assert ReportKey(moment, True).file_name == "alert_2025-05-12T14-30-05.123456.txt"


@given(
    st.builds(
        Timestamp,
        seconds=st.integers(-62_135_596_800, 253_370_764_799),
        nanos=st.integers(0, 999_999_999),
    ),
    st.booleans(),
)
def test_every_namable_time_comes_back_from_its_name(time: Timestamp, at_edge: bool) -> None:
    assert names.is_namable(time)
    key = ReportKey(names.moment_of(time), at_edge)
    assert names.parse_name(key.name) == key
    assert names.parse_page_token(names.page_token(key)) == key
    assert len(key.file_name) == len("alert_2025-05-12T14-30-05.123456.txt")


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
        "edge/edge/alert_2025-05-12T14-30-05.123456.txt",
        "edge//alert_2025-05-12T14-30-05.123456.txt",
        "/alert_2025-05-12T14-30-05.123456.txt",
        "../alert_2025-05-12T14-30-05.123456.txt",
        "alert_٢٠٢٥-05-12T14-30-05.123456.txt",
    ],
)
def test_other_files_are_no_reports(name: str) -> None:
    assert names.parse_name(name) is None
