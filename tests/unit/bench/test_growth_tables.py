from typing import Any

from bench.growth_tables import markdown

MACHINE = {
    "processor": "Abacus",
    "cores": 2,
    "memory_gib": 1,
    "kernel": "6",
    "python": "3",
    "load_average": 0.0,
    "redis": "Valkey 9",
    "influxdb": "1",
    "envoy": "1",
}


def step(waiting: int, failed: str = "") -> dict[str, Any]:
    return {
        "interactions": waiting,
        "jobs": 10,
        "redis_bytes": 2_000_000,
        "log_bytes": 1_000_000,
        "bytes": 40.4,
        "fetch_ms": 0.5,
        "fetch_in_redis_ms": 0.06,
        "accepted_per_second": 90_000.0,
        "failed": failed,
        "cpu": {"ingest_service": 0.25, "redis": 0.5},
        "resident_mb": {"ingest_service": 77.0},
    }


def report(steps: list[dict[str, Any]], ended: str, left: int) -> str:
    emptied = {
        "waiting": 1000,
        "left": left,
        "written_per_second": 500.0,
        "cpu": {"worker": 0.1},
        "peak_mb": {"worker": 80.0},
        "rows": 1000 - left,
        "redis_bytes": 0.4,
        "database_bytes": 7.2,
    }
    return markdown(
        {
            "machine": MACHINE,
            "settings": {"seconds": 1, "rounds": 1, "redis_fsync": "always"},
            "backlog": {"steps": steps, "ended": ended, "emptied": emptied},
        }
    )


def test_a_step_is_a_row_with_all_programs_added_up() -> None:
    text = report([step(20_000)], "", 0)
    assert "| 20,000 | 10 | 2 | 40 | 1 | 0.50 | 0.06 | 90,000 | 0.750 | 77 |" in text
    assert "It ended" not in text
    assert "were left" not in text


def test_what_was_not_reached_is_said() -> None:
    text = report([step(20_000, "14 calls failed")], "the time was over", 400)
    assert "It ended there: the time was over." in text
    assert "20,000 deep, submissions were refused: 14 calls failed." in text
    assert "wrote 600 interactions" in text
    assert "400 were left" in text


def test_where_nothing_was_accepted_nothing_has_a_cost() -> None:
    text = report(
        [step(20_000, "all calls failed") | {"accepted_per_second": 0.0, "cpu": {}}], "", 0
    )
    assert "| 0 | – | 77 |" in text


def test_parts_that_were_not_measured_are_left_out() -> None:
    text = report([step(1)], "", 0)
    assert "connections grow" not in text
    assert "more processes" not in text
