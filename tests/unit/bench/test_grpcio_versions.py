"""The table of the comparison of grpcio versions."""

from typing import Any

from bench.grpcio_versions import table


def seen(service: str, cpu: float) -> dict[str, Any]:
    return {
        "cpu": {service: cpu, "redis": 9.0},
        "throughput": {"median": 4321.0},
        "p99_ms": {"median": 12.34},
    }


def test_each_candidate_is_held_against_the_first_of_its_service() -> None:
    cases = {
        "noop": {"stacks": {"1.0": seen("noop", 0.2), "2.0": seen("noop", 0.3)}},
        "ingest_service": {"stacks": {"2.0": seen("ingest_service", 0.4)}},
    }
    assert table(cases).splitlines()[2:] == [
        "| noop | 1.0 | 200 µs | 1.00 | 4,321 | 12.3 ms |",
        "| noop | 2.0 | 300 µs | 1.50 | 4,321 | 12.3 ms |",
        "| ingest_service | 2.0 | 400 µs | 1.00 | 4,321 | 12.3 ms |",
    ]
