from __future__ import annotations

from collections.abc import Callable

import pytest
import stdnum.bitcoin

from detection.detectors.crypto_wallet import valid_base58, valid_bech32

Find = Callable[[str], list[str]]

BASE58 = [
    "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9",
    "DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L",
    "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
    "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
]
SEGWIT = [
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
]
ETHEREUM = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xde709f2102306220921060314715629080e2fb77",
]


@pytest.mark.parametrize("address", BASE58)
def test_base58_checksums(address: str) -> None:
    assert valid_base58(address.encode())
    changed = address[:-1] + ("x" if address[-1] != "x" else "y")
    assert not valid_base58(changed.encode())


@pytest.mark.parametrize("address", SEGWIT)
def test_bech32_checksums(address: str) -> None:
    assert valid_bech32(address.encode())
    assert not valid_bech32(address.replace("q", "p", 1).encode())


@pytest.mark.parametrize("address", [*BASE58[:3], *SEGWIT[:2]])
def test_stdnum_agrees(address: str) -> None:
    assert stdnum.bitcoin.is_valid(address)


def test_an_ethereum_address_is_one_in_any_case(find: Find) -> None:
    digits = ETHEREUM[0][2:]
    for written in (digits, digits.lower(), digits.upper(), digits.swapcase()):
        assert find(f"0x{written}") == [f"crypto_wallet:0x{written}"]


def test_many_burn_addresses_are_none(find: Find) -> None:
    assert find("0x" + "0" * 36 + "dEaD, " + f"0x{'0' * 40} " * 40) == []


@pytest.mark.parametrize("address", [*BASE58, *SEGWIT, SEGWIT[0].upper(), *ETHEREUM])
@pytest.mark.parametrize("around", ["{}", "send to {}, please", '{{"wallet":"{}"}}', "a={};"])
def test_wallets_are_found(find: Find, address: str, around: str) -> None:
    assert f"crypto_wallet:{address}" in find(around.format(address))


@pytest.mark.parametrize(
    "text",
    [
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp",
        "0x0000000000000000000000000000000000000000",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00",
        "d41d8cd98f00b204e9800998ecf8427e",
        "3Qz7mXw9KcVbNpLrTsYuHgFdJk2",
    ],
)
def test_what_only_looks_like_a_wallet_passes(find: Find, text: str) -> None:
    assert find(text) == []
