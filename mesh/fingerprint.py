"""What the gateway's refusals are counted by: the rule, the client and the minute.

All who handle a refusal derive the same identity. So ingest_service can tell a caller the id of an
alert before alert_service has counted it. The rule lives here since neither room may import the
other; it knows nothing of alerts.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import NamedTuple, Self

_WITH_CLIENT = re.compile(r"(edge--?[0-9]+-[0-9a-f]{12})-[0-9a-f]{16}")


class Fingerprint(NamedTuple):
    """What refusals that are counted together have in common.

    `client` is empty when clients are not told apart; `minute` counts from the Unix epoch.
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
        """The id of what is counted: at most 64 letters, digits and hyphens."""
        parts = ["edge", str(self.minute), _digest(self.rule, 12)]
        return "-".join([*parts, _digest(self.client, 16)] if self.client else parts)


def without_client(identity: str) -> str:
    """Return the identity under which the same is counted when clients are not told apart.

    Any other text is returned as it is.
    """
    match = _WITH_CLIENT.fullmatch(identity)
    return match.group(1) if match else identity


def network_of(address: str) -> str:
    """Return what identifies a client: its IPv4 address, or the /64 network of its IPv6 address,
    all of which one client usually has. Empty for anything else.
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
