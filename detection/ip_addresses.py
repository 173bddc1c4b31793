"""What the detectors of public and of private IP addresses share."""

from __future__ import annotations

import ipaddress
import re

from detection.detector import Hit
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, LETTERS, clear
from detection.findings import Confidence
from detection.words import Words

NOT_AN_ADDRESS = Words(
    "version", "versions", "ver", "rv", "release", "rev", "revision", "build", "firmware", "driver",
    "section", "chapter", "clause", "paragraph", "oid", "fw", "upgrade to", "upgraded to",
    "upgrade from", "upgraded from", "update to", "updated to", "updated from", "downgrade to",
    "bump", "bumped to", "sdk", "kernel", "agent version", "app version", "semver", "assembly",
    "fileversion", "productversion", "identifier",
)  # fmt: skip

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_QUAD = rf"{OCTET}(?:\.{OCTET}){{3}}"
MORE = r"\b(?:\.[0-9]+)*"
"""What a longer dotted number goes on with: it is a part of the candidate, so that the number is
refused at once and whole."""
QUAD_PREFILTER = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_PIECE = r"[0-9A-Fa-f]{1,4}"
IPV6 = (
    rf"(?:{_PIECE}:){{6}}(?:{_PIECE}:{_PIECE}|{_QUAD})"
    rf"|{_PIECE}(?::{_PIECE}){{0,5}}::(?:{_PIECE}:){{0,4}}{_QUAD}|::(?:{_PIECE}:){{0,5}}{_QUAD}"
    rf"|{_PIECE}(?::{_PIECE}){{0,6}}::(?:{_PIECE}(?::{_PIECE}){{0,5}})?"
    rf"|::{_PIECE}(?::{_PIECE}){{0,6}}"
)
IPV6_PREFILTER = "[0-9A-Fa-f]::|::[0-9A-Fa-f]|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:"

PORT = re.compile(rb":[0-9]{2,5}\b")


def judge_ipv4(doc: Document, start: int, end: int, *, private: bool) -> Hit | None:
    """Judge a dotted quad: whether it is an address, and a private one or not."""
    raw = doc.raw
    octets = raw[start:end].split(b".")
    first, second = int(octets[0]), int(octets[1])
    inside = (
        first == 10
        or (first == 172 and 16 <= second <= 31)
        or (first == 192 and second == 168)
        or (first == 169 and second == 254)
        or (first == 100 and 64 <= second <= 127)
    )
    if inside is not private or len(octets) > 4:
        return None
    # Says nothing about anyone: this host, this network, everyone, masks, groups.
    if first in (0, 127) or first >= 224 or octets[1:] == [b"0", b"0", b"0"]:
        return None
    before, after = raw[start - 1], raw[end]
    if not clear(raw, start, end) or (after == 0x2E and raw[end + 1] in ALPHANUMERIC):
        return None
    second_before = raw[start - 2]
    if before in b".:" and second_before in DIGITS:
        return None
    port = PORT.match(raw, end) is not None
    if before in b"-_/" and second_before in ALPHANUMERIC and not port:
        word = raw[max(0, start - 8) : start - 1].lower()
        if not word.endswith((b"ip", b"addr", b"address", b"host", b"client", b"server")):
            return None  # nginx/1.2.3.4, package-1.2.3.4
    if before == 0x3D and second_before in b"=~<>!":
        return None  # package==1.2.3.4
    if before in b"^~" or (before == 0x40 and second_before not in ALPHANUMERIC):
        return None
    if after in b"-_" and raw[end + 1] in LETTERS:
        return None
    if not port and _is_version(doc, start, end):
        return None
    return Hit(start, end, Confidence.MEDIUM)


def _is_version(doc: Document, start: int, end: int) -> bool:
    """Tell whether the dotted quad is called a version, a section or the like."""
    if doc.before(NOT_AN_ADDRESS, start, 14):
        return True
    index = doc.index_at(start)
    return doc.key_of(index) is not None and doc.named(NOT_AN_ADDRESS, index)


def judge_ipv6(doc: Document, start: int, end: int, *, private: bool) -> Hit | None:
    """Judge an IPv6 address: whether it is one of an interface, and a private one or not."""
    raw = doc.raw
    value = raw[start:end]
    # Code is full of pairs of colons: the shapes that words can have are asked for more.
    if b"::" in value:
        pieces = [piece for piece in value.replace(b".", b":").split(b":") if piece]
        lead = pieces[0] if pieces else b""
        if not any(byte in DIGITS for byte in value) and len(pieces) < 4:
            return None
        if not (len(lead) >= 3 or lead == b"64" or value.startswith(b"::ffff:")) and (
            len(pieces) < 4
        ):
            return None
        if len(pieces) < 2 and not (len(lead) == 4 and lead[:1] in b"23fF"):
            return None
    if not clear(raw, start, end) or raw[start - 1] == 0x3A or value.endswith(b"::"):
        return None  # a part of something, or a prefix of a network
    if raw[end] == 0x3A and raw[end + 1] in ALPHANUMERIC | {0x3A}:
        return None
    try:
        address = ipaddress.IPv6Address(value.decode())
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return None
    mapped = address.ipv4_mapped
    if mapped is not None and (mapped.is_loopback or mapped.is_unspecified):
        return None
    documentation = value[:9].lower().startswith(b"2001:db8") or b"0db8" in value[:9].lower()
    local = (mapped or address).is_private and not documentation
    whole = address.packed[0]
    local = local if mapped is not None else whole in (0xFC, 0xFD) or address.is_link_local
    if local is not private:
        return None
    return Hit(start, end, Confidence.MEDIUM)
