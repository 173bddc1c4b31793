from bench.cases import REFERENCE_RATE, steady_cases, stored_cases
from bench.loads import HttpLoad


def test_a_steady_rate_waits_for_no_answer() -> None:
    found = {case.name: case.loads["sluice"] for case in steady_cases()}
    assert {
        name: (load.rate, load.connections)
        for name, load in found.items()
        if isinstance(load, HttpLoad)
    } == {"steady-10": (10, 10), "steady-100": (100, 64), "steady-1000": (1000, 64)}


def test_the_reference_is_asked_for_what_it_can_do() -> None:
    for case in steady_cases():
        for load in case.loads.values():
            assert isinstance(load, HttpLoad)
            assert ("reference" in case.loads) == (load.rate <= REFERENCE_RATE)


def test_bytes_are_measured_of_what_sluice_does() -> None:
    assert [case.name for case in stored_cases() if "sluice" in case.loads] == [
        "steady-10",
        "steady-100",
        "steady-1000",
        "rest-100",
        "batch-1000",
    ]
