from __future__ import annotations

from collections.abc import Callable

import pytest

from detection import Scan

Detect = Callable[[object], Scan]


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.16.0.9", "192.168.1.20", "fe80::1", "fd00:1::2"]
)
def test_private_addresses_are_only_tagged(scan: Detect, address: str) -> None:
    result = scan(f"from {address} at noon")
    (finding,) = result.findings
    assert (finding.detector, result.verdict.name) == ("private_ip_address", "ACCEPT")
