import re
from dataclasses import replace
from typing import Any

import pytest

from tests.bench.capacity import Costs, costs, markdown, plan

CPU = {
    "api_gateway": 0.4,
    "ingest_service": 0.8,
    "alert_service": 0.0,
    "worker": 1.6,
    "redis": 0.6,
    "influxdb": 0.4,
}
RESIDENT = dict.fromkeys(CPU, 70.0)
ALONE = Costs(300.0, CPU, RESIDENT, 600.0, 250.0, 140.0, 1.0)
SHARED = Costs(
    2000.0, {name: cpu / 4 for name, cpu in CPU.items()}, RESIDENT, 70.0, 25.0, 20.0, 20.0
)


def results(done: float = 250.0) -> dict[str, Any]:
    def case(found: Costs) -> dict[str, Any]:
        figures = {"throughput": {"median": found.rate}}
        return {"stacks": {"sluice": {**figures, "cpu": found.cpu, "resident_mb": RESIDENT}}}

    def stored(found: Costs, done: float) -> dict[str, float]:
        return {
            "interactions": 1000,
            "jobs": 1000 / found.job_interactions,
            "pending": found.pending,
            "done": done,
            "database": found.database,
        }

    return {
        "machine": {"cores": 2, "processor": "Abacus"},
        "cases": {"rest-1": case(ALONE), "rest-32": case(SHARED)},
        "stored": {
            "sluice, POST /submit, 1 connection": stored(ALONE, done),
            "sluice, POST /submit, 32 connections": stored(SHARED, SHARED.done),
        },
    }


def test_a_process_is_left_half_idle() -> None:
    found = plan(ALONE, SHARED, 1000, 1.0)
    assert (found.ingest, found.workers, found.gateway_threads) == (2, 4, 1)
    assert found.cores == pytest.approx(2 * sum(CPU.values()))


@pytest.mark.parametrize(("users", "least"), [(10, 1), (49, 1), (50, 2), (100, 2)])
def test_one_of_each_may_fail_where_many_rely_on_it(users: int, least: int) -> None:
    found = plan(ALONE, SHARED, users, 0.1)
    assert (found.ingest, found.workers) == (least, least)


def test_sharing_is_planned_only_where_it_was_measured() -> None:
    # Two processes for availability halve what comes to each: 1,000 a second is sharing for one.
    assert not plan(ALONE, SHARED, 1999, 1.0).shares
    assert plan(ALONE, SHARED, 2000, 1.0).shares
    assert plan(ALONE, SHARED, 10, 100.0).shares


def test_redis_holds_an_outage_and_a_day_and_is_never_full() -> None:
    found = plan(ALONE, SHARED, 10, 1.0)
    assert found.redis_gb == pytest.approx(10 * (600 * 3600 + 250 * 23 * 3600) / 0.7e9)
    assert found.redis_short_gb == pytest.approx(10 * 600 * 3600 / 0.7e9)
    assert found.waiting_jobs == 36_000


def test_memory_counts_each_process_and_redis_apart() -> None:
    one, four = plan(ALONE, SHARED, 10, 1.0), plan(ALONE, SHARED, 1000, 1.0)
    each = 70 * 2**20 / 1e9 / 0.7
    assert one.memory_gb == pytest.approx(5 * each)
    # One ingest process and three workers more.
    assert four.memory_gb == pytest.approx(9 * each)


def test_what_redis_freed_meanwhile_is_no_gain() -> None:
    assert costs(results(done=-5.0), 1).done == 0


def test_what_was_not_measured_is_not_made_up() -> None:
    measured = results()
    del measured["cases"]["rest-1"]
    with pytest.raises(KeyError):
        markdown(measured, 1.0)


def test_the_table_is_whole_and_says_when_redis_is_busy() -> None:
    text = markdown(results(), 1.0)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {12}
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["10", "50", "100", "1,000", "10,000"]
    assert re.search(r"needs 60% of that at 1,000 users, 150% of that at 10,000 users", text)
    assert "No sharing is assumed below 10,000 users" in text


def test_sizes_are_rounded_up() -> None:
    alone = replace(ALONE, pending=0.0, done=0.0, database=1.0)
    assert plan(alone, SHARED, 10, 1.0).influx_gb_a_day == pytest.approx(0.000864)
    row = next(line for line in markdown(results(), 1.0).splitlines() if line.startswith("| 10 |"))
    assert row == (
        "| 10 | 1 | 1 | 1 | 0.1 | 0.6 GB | 0.4 GB | 0.1 GB | 36,000 | 0.2 GB | "
        "1 web, 2 workers, 1 GB |"
    )
