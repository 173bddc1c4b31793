import re
from typing import Any

import pytest

from bench.capacity import Costs, costs, markdown, plan

CPU = {
    "api_gateway": 0.4,
    "ingest_service": 0.8,
    "alert_service": 0.0,
    "worker": 1.6,
    "redis": 0.6,
    "influxdb": 0.4,
}
RESIDENT = dict.fromkeys(CPU, 70.0)
SLOW = Costs(10.0, CPU, RESIDENT, 600.0, 75.0, 140.0, 1.0)
STEADY = Costs(
    100.0, {name: cpu / 2 for name, cpu in CPU.items()}, RESIDENT, 500.0, 75.0, 130.0, 1.0
)
SHARED = Costs(
    1000.0, {name: cpu / 4 for name, cpu in CPU.items()}, RESIDENT, 100.0, 20.0, 30.0, 4.0
)
SATURATED = Costs(
    2000.0, {name: cpu / 5 for name, cpu in CPU.items()}, RESIDENT, 60.0, 10.0, 20.0, 10.0
)
MEASURED = [SLOW, STEADY, SHARED, SATURATED]


def results() -> dict[str, Any]:
    def case(found: Costs, title: str) -> dict[str, Any]:
        figures = {"throughput": {"median": found.rate}, "cpu": found.cpu, "resident_mb": RESIDENT}
        return {"title": title, "stacks": {"sluice": figures}}

    def stored(found: Costs) -> dict[str, float]:
        return {
            "interactions": 1000,
            "jobs": 1000 / found.job_interactions,
            "pending": found.pending,
            "done": found.done,
            "database": found.database,
        }

    return {
        "machine": {"cores": 2, "processor": "Abacus"},
        "cases": {
            "rest-100": case(SATURATED, "as fast as can be"),
            "steady-10": case(SLOW, "ten"),
            "steady-100": case(STEADY, "a hundred"),
            "steady-1000": case(SHARED, "a thousand"),
        },
        "stored": {
            "sluice, ten": stored(SLOW),
            "sluice, a hundred": stored(STEADY),
            "sluice, a thousand": stored(SHARED),
            "sluice, as fast as can be": stored(SATURATED),
        },
    }


def test_costs_begin_with_the_lowest_rate() -> None:
    assert costs(results()) == MEASURED


def test_a_process_is_left_half_idle() -> None:
    found = plan([SLOW], 1000, 1.0)
    assert (found.ingest, found.workers, found.gateway_threads) == (2, 4, 1)
    assert found.cores == pytest.approx(2 * sum(CPU.values()))


@pytest.mark.parametrize(("users", "least"), [(10, 1), (49, 1), (50, 2), (100, 2)])
def test_one_of_each_may_fail_where_many_rely_on_it(users: int, least: int) -> None:
    found = plan(MEASURED, users, 0.1)
    assert (found.ingest, found.workers) == (least, least)


@pytest.mark.parametrize(
    ("users", "per_user", "expected"),
    [
        (1, 1.0, SLOW),
        (40, 2.0, SLOW),
        (40, 2.5, STEADY),
        # Two processes for availability halve what comes to each.
        (199, 1.0, SLOW),
        (200, 1.0, STEADY),
        (1999, 1.0, STEADY),
        (2000, 1.0, SHARED),
        (3999, 1.0, SHARED),
        (4000, 1.0, SATURATED),
        # A second process for the load does the same.
        (10, 312.0, SATURATED),
        (10, 313.0, SHARED),
    ],
)
def test_costs_are_those_of_a_rate_that_each_process_gets(
    users: int, per_user: float, expected: Costs
) -> None:
    found = plan(MEASURED, users, per_user)
    assert found.influx_gb_a_day == pytest.approx(
        expected.database * users * per_user * 86_400 / 1e9
    )


def test_redis_holds_an_outage_and_a_day_and_is_never_full() -> None:
    found = plan(MEASURED, 10, 1.0)
    assert found.redis_gb == pytest.approx(10 * (600 * 3600 + 75 * 23 * 3600) / 0.7e9)
    assert found.request_ids_gb == pytest.approx(10 * 70 * 30 * 3600 / 0.7e9)
    assert found.waiting_jobs == 36_000


@pytest.mark.parametrize(
    ("users", "primaries"), [(100, 1), (3333, 1), (5000, 3), (20_000, 5), (1_000_000, 240)]
)
def test_redis_is_divided_where_one_would_be_more_than_half_busy(
    users: int, primaries: int
) -> None:
    assert plan([SATURATED], users, 1.0).primaries == primaries


def test_memory_counts_each_process_and_redis_apart() -> None:
    one, four = plan([SLOW], 10, 1.0), plan([SLOW], 1000, 1.0)
    each = 70 * 2**20 / 1e9 / 0.7
    assert one.memory_gb == pytest.approx(5 * each)
    # One ingest process and three workers more.
    assert four.memory_gb == pytest.approx(9 * each)


@pytest.mark.parametrize("missing", ["steady-10", "rest-100"])
def test_what_was_not_measured_is_not_made_up(missing: str) -> None:
    measured = results()
    del measured["cases"][missing]
    with pytest.raises(KeyError):
        markdown(measured, 1.0)


def test_the_table_is_whole_and_says_what_it_strains() -> None:
    text = markdown(results(), 1.0)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {13}
    users = ["10", "50", "100", "1,000", "10,000", "100,000", "1,000,000"]
    assert [row.split("|")[1].strip() for row in rows[2:]] == users
    assert "From 10,000 users on it is a cluster" in text
    assert "From 100,000 users on one InfluxDB needs more" in text
    assert re.search(r"leaves 3,600,000 jobs at 1,000 users, 3,600,000 jobs at 10,000 users", text)
    assert (
        "1,000 cost 3.80 s at 10/s, 1.90 s at 100/s, 0.95 s at 1,000/s, 0.76 s at 2,000/s" in text
    )


def test_small_plans_strain_nothing() -> None:
    text = markdown(results(), 0.0001)
    assert "SLUICE_MAX_QUEUED_JOBS" not in text
    assert "it is a cluster" not in text
    assert "one InfluxDB needs" not in text


def test_sizes_are_rounded_up() -> None:
    row = next(line for line in markdown(results(), 1.0).splitlines() if line.startswith("| 10 |"))
    assert row == (
        "| 10 | 1 | 1 | 1 | 0.1 | 0.6 GB | 1 | 0.2 GB | + 0.2 GB | 0.1 | 0.2 GB | "
        "1 web, 2 workers, 1 GB |"
    )
