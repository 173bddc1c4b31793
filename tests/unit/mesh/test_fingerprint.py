from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.fingerprint import Fingerprint, without_client

SECOND = 1_700_000_000

FINGERPRINTS = st.builds(
    Fingerprint.of,
    st.sampled_from(["RULE", "ANOTHER", ""]),
    st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", ""]) | st.ip_addresses().map(str),
    st.sampled_from([SECOND, SECOND + 60, -SECOND]) | st.integers(0, 2**40),
)


@given(FINGERPRINTS, FINGERPRINTS)
def test_only_equal_fingerprints_have_the_same_identity(
    one: Fingerprint, other: Fingerprint
) -> None:
    assert (one.identity == other.identity) == (one == other)
    assert re.fullmatch(r"[A-Za-z0-9-]{8,64}", one.identity)
    assert without_client(one.identity) == one._replace(client="").identity


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_the_addresses_of_an_ipv6_network_are_one_client(
    address: ipaddress.IPv6Address, host: int
) -> None:
    if address.ipv4_mapped is not None:
        return
    sibling = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    if sibling.ipv4_mapped is None:
        expected = Fingerprint.of("RULE", str(address), SECOND)
        assert Fingerprint.of("RULE", str(sibling), SECOND) == expected


def test_notations_of_an_address_are_one_client() -> None:
    addresses = ("2001:db8::1", "2001:db8::ffff:1", "2001:0DB8::2%eth0")
    assert len({Fingerprint.of("RULE", each, SECOND).identity for each in addresses}) == 1
    assert Fingerprint.of("RULE", "::ffff:192.0.2.1", SECOND).client == "192.0.2.1"


@pytest.mark.parametrize(
    "text",
    ["", "edge-4120b07c-6bcf-4344-aa64-2faea0eebb48", "ext-" + "0" * 40, "edge-1-" + "0" * 12],
)
def test_what_is_no_identity_with_a_client_stays(text: str) -> None:
    assert without_client(text) == text
