"""Secrets made at random, so that none is written in a test."""

from __future__ import annotations

import base64
import json
import random
import string

RANDOM = random.Random(11)
LETTERS_AND_DIGITS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def some(alphabet: str, size: int) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(size))


def token(*parts: str | int) -> str:
    """Join literal parts and random parts of a given length, so that no token is written here."""
    return "".join(
        part if isinstance(part, str) else some(LETTERS_AND_DIGITS, part) for part in parts
    )


def segment(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
