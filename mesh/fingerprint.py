"""What the gateway's refusals are counted by: the rule, the caller and the minute.

Everyone who tells of a refusal comes to the same identity, so a caller can be told it before the
refusals have been counted.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import NamedTuple, Self

_WITH_CLIENT = re.compile(r"(edge--?[0-9]+-[0-9a-f]{12})-[0-9a-f]{16}")


class Fingerprint(NamedTuple):
    """What refusals share that are counted together; `client` is empty when it is not told apart.

    `minute` counts from the Unix epoch.
    """

    rule: str
    client: str
    minute: int

    @classmethod
    def of(cls, rule: str, address: str, seconds: int) -> Self:
        """Return the fingerprint of a refusal at a time in seconds since the Unix epoch."""
        return cls(rule, network_of(address), seconds // 60)

    @property
    def identity(self) -> str:
        """The one name of what is counted, of at most 64 letters, digits and hyphens."""
        parts = ["edge", str(self.minute), _digest(self.rule, 12)]
        return "-".join([*parts, _digest(self.client, 16)] if self.client else parts)


def without_client(identity: str) -> str:
    """Return the identity of what is counted instead, should its client not be told apart.

    Whatever is no such identity stays as it is.
    """
    match = _WITH_CLIENT.fullmatch(identity)
    return match.group(1) if match else identity


def network_of(address: str) -> str:
    """Return what stands for a client: its IPv4 address, or the /64 network of its IPv6 address,
    since whoever has one of these addresses has all. Empty for anything else.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
