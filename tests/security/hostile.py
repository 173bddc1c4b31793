"""Texts made to keep a detector busy: what begins a candidate, over and over."""

from __future__ import annotations

from collections.abc import Callable

NEAR_MISSES = {
    "cards": "4111111111111112 ", "card groups": "4111 1111 1111 1112 ", "digits": "4",
    "digit groups": "4111 ", "real cards": "4111 1111 1111 1111 ", "pairs": "41 11 ",
    "cards of mixed joints": "4111. 1111. 1111. 1111. ", "single digits": "4 1 ",
    "card and code": "4111111111111111 cvv ", "commas": "4111,", "commas and quotes": '"4111",',
    "plus signs": "4111+", "lines": "4111\n", "wrapped": "4111 1111\n", "lists": "[4111,",
    "SSNs": "ssn 100 20 3000 ", "SSN dashes": "123-45-678 ", "SSN commas": "123,45,6789,",
    "SSN lines": "123-45-\n", "real SSNs": "123-45-6789 ", "nine digits": "ssn 123456789x ",
    "percent": "%41", "percent digits": "%34", "percent blanks": "4111%20",
    "percent percent": "%25",
    "entities": "&#45;", "entity digits": "4&#52;", "open entities": "&#4", "named": "1&nbsp;",
    "escapes": "1\\u002d", "backslashes": "\\", "escaped digits": "\\u0034", "soft": "12=\n",
    "emails": "a@b.co ", "at signs": "a@", "almost emails": "a@b.", "dots": "a.",
    "local parts": "%+'", "URL emails": ":a@b.co ", "spelled": "a (at) b ",
    "spelled dots": "a [dot] ",
    "IBANs": "GB82WEST12345698765433", "IBAN heads": "DE89 ", "wallets": "1BvBMSEYstWetqTFn5Au4m4G",
    "ether": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeE ", "bech32": "bc1q", "monero": "48A",
    "cash": "bitcoincash:q", "phones": "+1 212 555 012 ", "plus": "+1", "exit codes": "0044 2",
    "trunks": "(0) 30 ", "named phones": "call 12.34.", "brackets": "(212) 5", "IPs": "1.2.3.4.",
    "IP ports": "1.2.3.4:8 ", "colons": "a:b::", "MACs": "aa:bb:cc:dd:ee:", "dashes": "1-",
    "passports": "passport X123", "licences": "dl A-12 3", "births": "dob 1999-12-", "words":
    "ssn dob passport dl aba tel aws ", "keys": "-----BEGIN PRIVATE KEY-----", "PEM": "-----BEGIN ",
    "key heads": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n",
    "headers": "-----BEGIN PRIVATE KEY-----\na: ",
    "ends": "-----END ", "putty": "PuTTY-User-Key-File-2: ", "JWTs": "eyJhbGciOi1.abcd.e ",
    "JWT heads": "eyJhbGciOi", "deep JWTs": "eyJbW1tbW1tbW1tb", "AWS": "AKIA",
    "AWS ids": "AKIAQ8Z5LMN7PQRSTUVW ",
    "AWS secrets": "aws q8Zk2LmN0pQrSt7vWxYz1834Ab3dEf9hIjKl9+/a ",
    "assignments": "password=abcdef ",
    "passwords": "password=", "open quotes": 'password="', "open angles": 'password="<',
    "angles": "<", "braces": "{[(<", "quotes": "'\\\"", "bearer": "bearer ", "users": "-u a:",
    "identified": 'identified by "', "URLs": "http://", "URL users": "a://b:ccc", "URL hosts": "a://b:c@",
    "URL ats": "@a.b", "URL ports": "a://b:80/@c ", "slack": "xapp-1-A", "base64": "QUJD",
    "hex": "0x", "spaces": " ", "zero width": "\u200b", "full width": "４", "combining": "e\u0301",
    "ligature of 18": "\ufdfa", "emoji": "😀", "marks": "1\u0301\u200b", "keywords": "secret ",
    "one letter": "a", "names": "a_password", "dashed": "a-", "telegrams": "1234:",
    "discord": "mfa.",
    "azure": "sig=", "azure in base64": "/" + "a" * 76 + "AZDO" + "bbbb",
    "putty keys": "PuTTY-User-Key-File-2:AAAAAAAAAAAA\n",
    "IBAN overlaps": "DE89DE89", "assigned runs": "password=a1,password=a1,",
    "keyed": "key-", "twilio": "twilio SK0",
}  # fmt: skip
"""A unit each, to be repeated."""

OPENERS = (
    'password="', "a://b:", "-----BEGIN PRIVATE KEY-----\n", "eyJ", "4111 ", "dl 1",
    "aws ", "call 1",
    '{"a":"',
)  # fmt: skip
FILLERS = (
    "<",
    "A1",
    "4",
    "4111 ",
    "@a",
    ".",
    "-",
    "/",
    ":",
    "%25",
    "\\",
    "=",
    "a.",
    "1.",
    "1,",
    "'",
)
"""An opener once, then a filler over and over."""


def near_misses(size: int) -> dict[str, str]:
    """Return each unit over and over, in ``size`` bytes, by name."""
    return {name: fill("", unit, size) for name, unit in NEAR_MISSES.items()}


def opened(size: int) -> dict[str, str]:
    """Return every opener with every filler, in ``size`` bytes, by name."""
    return {
        f"{opener!r}, then {filler!r}": fill(opener, filler, size)
        for opener in OPENERS
        for filler in FILLERS
    }


def fill(opener: str, unit: str, size: int) -> str:
    """Return ``opener`` and as many of ``unit`` as fit into ``size`` bytes."""
    return opener + unit * ((size - len(opener.encode())) // len(unit.encode()))


def _many(text: str) -> object:
    return [text[n : n + 40] for n in range(0, len(text), 40)]


def _keys(text: str) -> object:
    return {text[n : n + 40] + str(n): 1 for n in range(0, len(text), 40)}


def _under_one_key(text: str) -> object:
    members = {str(n): text[n : n + 24] for n in range(1000, len(text), 24)}
    return {"x": {text[:1000]: members}}


SHAPES: dict[str, Callable[[str], object]] = {
    "one value": lambda text: text,
    "folded": lambda text: "é" + text,
    "many values": _many,
    "many keys": _keys,
    "under one long key": _under_one_key,
}
"""What a submission can make of a text."""
