"""What is said of ports that cannot be used."""

import os
import socket
from collections.abc import Iterator

import pytest

from deploy.local import ports


@pytest.fixture(name="taken")
def _taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_with_its_setting_and_who_has_it(taken: int) -> None:
    said = ports.conflict({"gateway": (taken, "SLUICE_GATEWAY_PORT")})
    assert said is not None
    assert f"Port {taken} (gateway) is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert "SLUICE_GATEWAY_PORT=" in said
    assert "\n" not in said


def test_one_port_for_two_uses_is_refused() -> None:
    (port,) = ports.free_ranges({"any": 1}).values()
    said = ports.conflict({"gateway": (port, "SLUICE_A"), "Redis": (port, "SLUICE_B")})
    assert said == f"Port {port} would serve both gateway and Redis: change SLUICE_B."


def test_a_port_beyond_the_last_is_refused() -> None:
    said = ports.conflict({"ingest 3": (65_536, "SLUICE_INGEST_GRPC_PORT")})
    assert said == "Port 65536 (ingest 3) does not exist: lower SLUICE_INGEST_GRPC_PORT."


def test_free_ranges_do_not_overlap_and_can_be_used() -> None:
    lengths = {"one": 1, "three": 3, "ten": 10}
    found = ports.free_ranges(lengths)
    rows = [range(found[name], found[name] + length) for name, length in lengths.items()]
    every = [port for row in rows for port in row]
    assert len(set(every)) == 14
    uses = {str(port): (port, "SLUICE_ANY") for port in every}
    assert ports.conflict(uses) is None
