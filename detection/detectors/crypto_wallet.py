"""Addresses of crypto wallets, by their shapes and the checksums they carry."""

from __future__ import annotations

from hashlib import sha256
from operator import mul

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, clear
from detection.findings import Confidence, Kind

_BASE58 = r"\b[13LMDATr9][1-9A-HJ-NP-Za-km-z]{25,34}\b"
_BECH32 = r"(?:bc1|tb1|ltc1|BC1|TB1|LTC1)[02-9ac-hj-np-zAC-HJ-NP-Z]{20,}"
_ETHEREUM = r"0[xX][0-9a-fA-F]{40}\b"
_CASH = r"bitcoincash:[qpQP][02-9ac-hj-np-z]{41}"
_MONERO = r"\b[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b"

_BITCOIN = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RIPPLE = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_POWERS = [58**power for power in range(36)]
# Version bytes of Bitcoin, Litecoin, Dogecoin, Dash, TRON and Ripple addresses.
_VERSIONS = frozenset((0, 5, 48, 50, 30, 22, 76, 16, 65))


def _values(alphabet: bytes) -> bytes:
    table = bytearray(256)
    for value, byte in enumerate(alphabet):
        table[byte] = value
    return bytes(table)


_BITCOIN_VALUES = _values(_BITCOIN)
_RIPPLE_VALUES = _values(_RIPPLE)

_BECH32_VALUES = {byte: value for value, byte in enumerate(b"qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_SUMS = (1, 0x2BC830A3)  # BIP 173 and BIP 350


def base58(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a Base58Check address: Bitcoin and its kin, TRON, Ripple."""
    if not valid_base58(doc.raw[start:end]):
        return None
    return Hit(start, end, Confidence.HIGH)


def valid_base58(address: bytes) -> bool:
    """Tell whether ``address`` has a known version and the double SHA-256 checksum."""
    table = _RIPPLE_VALUES if address[0] == 0x72 else _BITCOIN_VALUES
    number: int = sum(map(mul, _POWERS, address[::-1].translate(table)))
    if number >= 1 << 200:
        return False
    decoded = number.to_bytes(25, "big")
    if decoded[0] not in _VERSIONS:
        return False
    return sha256(sha256(decoded[:21]).digest()).digest()[:4] == decoded[21:]


def bech32(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a segwit address."""
    raw = doc.raw
    address = raw[start:end]
    if not clear(raw, start, end) or len(address) > 90:
        return None
    if address != address.lower() and address != address.upper():
        return None
    return Hit(start, end, Confidence.HIGH) if valid_bech32(address.lower()) else None


def valid_bech32(address: bytes) -> bool:
    """Tell whether lower-case ``address`` passes the Bech32 or Bech32m checksum."""
    prefix, _, data = address.rpartition(b"1")
    values = [byte >> 5 for byte in prefix] + [0] + [byte & 31 for byte in prefix]
    for byte in data:
        if byte not in _BECH32_VALUES:
            return False
        values.append(_BECH32_VALUES[byte])
    total = 1
    for value in values:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATORS):
            if top >> bit & 1:
                total ^= generator
    return total in _BECH32_SUMS


def ethereum(doc: Document, start: int, end: int) -> Hit | None:
    """Judge ``0x`` and forty hex digits.

    Letters in both cases are how wallets write an address with the checksum of EIP-55 in it. It is
    not computed: an address is the same in any case, and whose case is wrong still says whose it
    is.
    """
    raw = doc.raw
    if raw[start - 1] in ALPHANUMERIC:
        return None
    digits = raw[start + 2 : end]
    if len(set(digits.lower())) < 6:
        return None  # zero, burn and placeholder addresses
    one_case = digits in (digits.lower(), digits.upper())
    return Hit(start, end, Confidence.MEDIUM if one_case else Confidence.HIGH)


def cash(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a Bitcoin Cash address with its prefix, by shape."""
    return Hit(start, end, Confidence.MEDIUM) if clear(doc.raw, start, end) else None


def monero(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a Monero address by shape."""
    value = doc.raw[start:end]
    return Hit(start, end, Confidence.MEDIUM) if len(set(value)) > 20 else None


DETECTOR = Detector(
    "crypto_wallet",
    Kind.PII,
    (
        # Words of a dozen letters begin as these do, so more of them is asked for.
        Rule(
            _BASE58,
            base58,
            prefilter=r"\b[13LMDATr9][1-9A-HJ-NP-Za-km-z]{20}",
            max_refused=400,
        ),
        Rule(_BECH32, bech32, max_refused=100),
        Rule(_ETHEREUM, ethereum),
        Rule(_CASH, cash),
        Rule(_MONERO, monero, prefilter=r"\b[48][0-9AB][1-9A-HJ-NP-Za-km-z]{20}"),
    ),
    hits=(
        "send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
    ),
    misses=(
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp",
        "0x0000000000000000000000000000000000000000",
    ),
)
