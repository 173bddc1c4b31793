from __future__ import annotations

import re

import pytest

from mesh.fingerprint import Fingerprint, without_client

SECOND = 1_700_000_000


@pytest.mark.parametrize(
    "other",
    [
        Fingerprint.of("ANOTHER", "192.0.2.1", SECOND),
        Fingerprint.of("RULE", "192.0.2.2", SECOND),
        Fingerprint.of("RULE", "", SECOND),
        Fingerprint.of("RULE", "192.0.2.1", SECOND + 60),
        Fingerprint.of("RULE", "192.0.2.1", -SECOND),
    ],
)
def test_what_differs_has_an_identity_of_its_own(other: Fingerprint) -> None:
    one = Fingerprint.of("RULE", "192.0.2.1", SECOND)
    assert one.identity != other.identity
    for each in (one, other):
        assert re.fullmatch(r"[A-Za-z0-9-]{8,64}", each.identity)
        assert without_client(each.identity) == each._replace(client="").identity


def test_the_addresses_that_one_client_has_are_one() -> None:
    addresses = ("2001:db8::1", "2001:db8::ffff:1", "2001:0DB8::2%eth0")
    assert len({Fingerprint.of("RULE", each, SECOND).identity for each in addresses}) == 1
    assert Fingerprint.of("RULE", "::ffff:192.0.2.1", SECOND).client == "192.0.2.1"


@pytest.mark.parametrize(
    "text",
    ["", "edge-4120b07c-6bcf-4344-aa64-2faea0eebb48", "ext-" + "0" * 40, "edge-1-" + "0" * 12],
)
def test_what_is_no_identity_with_a_client_stays(text: str) -> None:
    assert without_client(text) == text
