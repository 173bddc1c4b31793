from typing import Any

from bench.tables import markdown

CIRCUMSTANCES: dict[str, Any] = {
    "machine": {
        "cores": 2,
        "processor": "Abacus",
        "memory_gib": 1.0,
        "kernel": "1",
        "python": "3",
        "redis": "Redis 7",
        "influxdb": "1",
        "envoy": "1",
        "load_average": 0.0,
        "sluice": {},
        "reference": {},
    },
    "settings": {"redis_fsync": "always", "rounds": 1, "seconds": 1.0},
}
WRITERS = {"worker": 0.1, "influxdb": 0.1}


def stack(cpu: dict[str, float]) -> dict[str, Any]:
    figure = {"median": 1.0, "low": 1.0, "high": 1.0}
    return {
        **dict.fromkeys(("throughput", "p50_ms", "p99_ms", "cpu_total"), figure),
        "cpu": cpu,
        "loader_cpu": 0.0,
        "failed": 0,
        "resident_mb": {},
    }


def results(connections: int, ours: float) -> dict[str, Any]:
    stacks = {
        "sluice": stack({"ingest_service": ours, "redis": 0.05, **WRITERS}),
        "noop": stack({"ingest_service": 0.25}),
    }
    case = {"title": "", "stacks": stacks, "rounds_without_success": {}}
    return {**CIRCUMSTANCES, "cases": {f"rest-{connections}": case}}


def test_processor_time_is_held_against_the_no_op_at_100_connections() -> None:
    text = markdown(results(100, 0.275))
    lines = text.splitlines()
    (place,) = [number for number, line in enumerate(lines) if "100 connections, CPU" in line]
    assert lines[place].endswith("| ≤ 1.5× | 2.10× |")
    alone = "| the same of gateway, ingest and alert service alone | ≤ 1.25× | 1.10× |"
    assert lines[place + 1] == alone
    assert "32 connections" not in text
