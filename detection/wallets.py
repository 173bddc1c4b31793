"""Addresses of crypto wallets, by the checksums they carry."""

from __future__ import annotations

from hashlib import sha256
from operator import mul

from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, clear
from detection.findings import Confidence
from detection.hit import Hit

BASE58 = r"\b[13LMDATr9][1-9A-HJ-NP-Za-km-z]{25,34}\b"
BASE58_GATE = r"\b[13LMDATr9][1-9A-HJ-NP-Za-km-z]{20}"
BECH32 = r"(?:bc1|tb1|ltc1|BC1|TB1|LTC1)[02-9ac-hj-np-zAC-HJ-NP-Z]{20,}"
ETHEREUM = r"0[xX][0-9a-fA-F]{40}\b"
CASH = r"bitcoincash:[qpQP][02-9ac-hj-np-z]{41}"
MONERO = r"\b[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b"
MONERO_GATE = r"\b[48][0-9AB][1-9A-HJ-NP-Za-km-z]{20}"

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
    return start, end, Confidence.HIGH


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
    return (start, end, Confidence.HIGH) if valid_bech32(address.lower()) else None


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
    """Judge ``0x`` and forty hex digits; mixed case carries the EIP-55 checksum."""
    raw = doc.raw
    if raw[start - 1] in ALPHANUMERIC:
        return None
    digits = raw[start + 2 : end]
    if len(set(digits.lower())) < 6:
        return None  # zero, burn and placeholder addresses
    letters = bytes([byte for byte in digits if byte not in DIGITS])
    if letters == letters.lower() or letters == letters.upper():
        return start, end, Confidence.MEDIUM
    return (start, end, Confidence.HIGH) if valid_eip55(digits) else None


def valid_eip55(digits: bytes) -> bool:
    """Tell whether the case of forty hex digits is the one EIP-55 gives them."""
    digest = keccak256(digits.lower()).hex()
    return all(
        byte in DIGITS or (byte < 0x61) == (int(nibble, 16) > 7)
        for byte, nibble in zip(digits, digest, strict=False)
    )


def cash(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a Bitcoin Cash address with its prefix, by shape."""
    return (start, end, Confidence.MEDIUM) if clear(doc.raw, start, end) else None


def monero(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a Monero address by shape."""
    value = doc.raw[start:end]
    return (start, end, Confidence.MEDIUM) if len(set(value)) > 20 else None


_MASK = (1 << 64) - 1
_ROUNDS = (
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000,
    0x000000000000808B, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008A, 0x0000000000000088, 0x0000000080008009, 0x000000008000000A,
    0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
)  # fmt: skip
_ROTATIONS = (
    1,
    3,
    6,
    10,
    15,
    21,
    28,
    36,
    45,
    55,
    2,
    14,
    27,
    41,
    56,
    8,
    25,
    43,
    62,
    18,
    39,
    61,
    20,
    44,
)
_LANES = (10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1)
_RATE = 136


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 digest (the original padding, which Ethereum uses) of a short text."""
    padded = bytearray(data + b"\x01" + bytes(_RATE - 1 - len(data) % _RATE))
    padded[-1] |= 0x80
    state = [0] * 25
    for block in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            first = block + 8 * lane
            state[lane] ^= int.from_bytes(padded[first : first + 8], "little")
        _permute(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permute(state: list[int]) -> None:
    for constant in _ROUNDS:
        columns = [
            state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20]
            for x in range(5)
        ]
        for x in range(5):
            turned = columns[(x + 1) % 5]
            parity = columns[(x + 4) % 5] ^ ((turned << 1 | turned >> 63) & _MASK)
            for y in range(0, 25, 5):
                state[x + y] ^= parity
        moved = state[1]
        for lane, rotation in zip(_LANES, _ROTATIONS, strict=True):
            moved, state[lane] = (
                state[lane],
                (moved << rotation | moved >> (64 - rotation)) & _MASK,
            )
        for y in range(0, 25, 5):
            row = state[y : y + 5]
            for x in range(5):
                state[x + y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5] & _MASK)
        state[0] ^= constant
