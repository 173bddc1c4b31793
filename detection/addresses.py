"""Addresses of people and machines: e-mail, IPv4, IPv6, MAC."""

from __future__ import annotations

import ipaddress
import re

from detection import context
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, LETTERS, clear
from detection.engine import Pattern
from detection.findings import Confidence
from detection.hit import Hit

_ATEXT = r"[A-Za-z0-9_.%+'~!#$&*=?^{}|/-]"
_LABEL = r"(?:[A-Za-z0-9_-]|[^\x00-\x7f])"
EMAIL_GATE = "@|%40|&#64;|u0040"
EMAIL = (
    rf"(?:[A-Za-z0-9_]{_ATEXT}*|[^\x00-\x7f]+|\"[^\"\x1f]{{1,64}}\")(?:@|%40|&#64;|\\u0040)"
    rf"(?:{_LABEL}+\.)+(?:[A-Za-z]{{2,24}}|xn--[A-Za-z0-9-]{{2,30}}|[^\x00-\x7f]{{2,24}})"
)
EMAIL_SPELLED_GATE = r"[\[({<] ?(?i:at) ?[\])}>]"
EMAIL_SPELLED = (
    r"[A-Za-z0-9_][A-Za-z0-9_.+-]* ?[\[({<] ?(?i:at) ?[\])}>] ?[A-Za-z0-9-]+"
    r"(?: ?(?:\.|[\[({<] ?(?i:dot) ?[\])}>]) ?[A-Za-z0-9-]+)*"
    r" ?(?:\.|[\[({<] ?(?i:dot) ?[\])}>]) ?[A-Za-z]{2,24}"
)

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_BIG = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[2-9][0-9])"
_QUAD = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
# With what a longer dotted number goes on with, so that it is refused at once and whole.
_MORE = r"\b(?:\.[0-9]+)*"
IPV4 = (
    rf"\b(?:{_BIG}(?:\.{_OCTET}){{3}}|{_OCTET}\.{_BIG}(?:\.{_OCTET}){{2}}"
    rf"|(?:{_OCTET}\.){{2}}{_BIG}\.{_OCTET}|(?:{_OCTET}\.){{3}}{_BIG}"
    rf"|1\.1\.1\.1|1\.0\.0\.1|8\.8\.8\.8|8\.8\.4\.4|9\.9\.9\.9){_MORE}"
)
# Four small numbers are a version or a section more often than an address.
IPV4_SMALL = rf"\b1?[0-9](?:\.1?[0-9]){{3}}{_MORE}"
IPV4_PRIVATE = (
    rf"\b(?:10\.{_OCTET}|172\.(?:1[6-9]|2[0-9]|3[01])|192\.168|169\.254"
    rf"|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\.{_OCTET}\.{_OCTET}{_MORE}"
)
_PIECE = r"[0-9A-Fa-f]{1,4}"
IPV6 = (
    rf"(?:{_PIECE}:){{6}}(?:{_PIECE}:{_PIECE}|{_QUAD})"
    rf"|{_PIECE}(?::{_PIECE}){{0,5}}::(?:{_PIECE}:){{0,4}}{_QUAD}|::(?:{_PIECE}:){{0,5}}{_QUAD}"
    rf"|{_PIECE}(?::{_PIECE}){{0,6}}::(?:{_PIECE}(?::{_PIECE}){{0,5}})?"
    rf"|::{_PIECE}(?::{_PIECE}){{0,6}}"
)
_HEX2 = r"[0-9A-Fa-f]{2}"
MAC = (
    rf"{_HEX2}(?::{_HEX2}){{5}}|{_HEX2}(?:-{_HEX2}){{5}}"
    r"|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)

# What stands after the last dot of names that only look like addresses: files, units of systemd,
# hosts nobody can send mail to.
_NOT_TOP_LEVEL = frozenset(
    (
        "png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "bmp", "tiff", "css", "scss",
        "less", "js", "mjs", "cjs", "jsx", "ts", "tsx", "json", "yaml", "yml", "xml", "html", "htm",
        "txt", "log", "csv", "toml", "ini", "cfg", "conf", "lock", "tar", "gz", "tgz", "bz", "xz",
        "rar", "jar", "war", "whl", "deb", "rpm", "exe", "dll", "bin", "dat", "bak", "tmp", "swp",
        "pyc", "class", "cpp", "hpp", "java", "php", "sql", "pdf", "docx", "xlsx", "pptx", "mp3",
        "mp4", "wav", "mov", "service", "socket", "slice", "target", "timer", "mount", "scope",
        "device", "swap", "path", "local", "localdomain", "localhost", "internal", "lan", "svc",
        "pem", "crt", "key", "git",
    )
)  # fmt: skip
_HEX_LETTERS = frozenset(b"abcdefABCDEF")
_PASSWORD_BEFORE = Pattern(
    r"://[^ \t\r\n\x1f\"'<>/?#@:\[]*:(?:[^ \t\r\n\x1f\"'<>0-9/]"
    r"|[0-9]+[^ \t\r\n\x1f\"'<>0-9/?#,;]|$)[^ \t\r\n\x1f\"'<>]*$"
)
_PUNCTUATION = bytes(set(range(0x80)) - ALPHANUMERIC - set(b'_"'))
_PORT = re.compile(rb":[0-9]{2,5}\b")


def email(doc: Document, start: int, end: int) -> Hit | None:
    """Judge ``local@domain.tld``."""
    raw = doc.raw
    value = raw[start:end]
    at = max(value.rfind(b"@"), value.rfind(b"%40"), value.rfind(b"&#64;"), value.rfind(b"\\u0040"))
    local, domain = value[:at], value[at:]
    top = value[value.rfind(b".") + 1 :].decode().lower()
    if top in _NOT_TOP_LEVEL or (raw[end] in DIGITS) or raw[end] == 0x28:
        return None
    # A local part of code or of an address: keep what can be one.
    cut = max(local.rfind(byte) for byte in (b"=", b"/", b"|", b"{", b"?", b"&", b"#"))
    if cut >= 0:
        local = local[cut + 1 :]
    local = local.lstrip(_PUNCTUATION)
    start = start + at - len(local)
    if not local or local.endswith(b".") or len(local) > 128:
        return None
    if raw[start - 3 : start] == b"://" or (local == b"git" and raw[end] == 0x3A):
        return None  # the user of a URL, a remote of git
    if domain.startswith(b"@-") or b".." in domain or b"-." in domain:
        return None
    if raw[start - 1] in b":/?#@" and _in_password(raw, start):
        return None
    return start, end, Confidence.MEDIUM


def email_spelled(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an address written with a bracketed "at"."""
    return start, end, Confidence.MEDIUM


def _in_password(raw: bytes, start: int) -> bool:
    """Tell whether ``user:`` of a URL stands before: the value is of a password and a host."""
    before = raw[max(0, start - 128) : start]
    return b"://" in before and _PASSWORD_BEFORE.occurs(before, 0, len(before))


def public_ipv4(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a dotted quad that can be reached or stands for one."""
    return _ipv4(doc, start, end, private=False)


def small_ipv4(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a dotted quad of small numbers: it needs a port, or a word that says address."""
    named = (
        _PORT.match(doc.raw, end)
        or doc.before(context.NETWORK, start)
        or doc.named(context.NETWORK, doc.index_at(start))
    )
    return _ipv4(doc, start, end, private=False) if named else None


def private_ipv4(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a dotted quad of a private or link-local range."""
    return _ipv4(doc, start, end, private=True)


def public_ipv6(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an IPv6 address that can be reached or stands for one."""
    return _ipv6(doc, start, end, private=False)


def private_ipv6(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an IPv6 address of a local range."""
    return _ipv6(doc, start, end, private=True)


def _ipv4(doc: Document, start: int, end: int, *, private: bool) -> Hit | None:
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
    port = _PORT.match(raw, end) is not None
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
    if not port and _versions(doc, start, end):
        return None
    return start, end, Confidence.MEDIUM


def _versions(doc: Document, start: int, end: int) -> bool:
    """Tell whether the dotted quad is called a version, a section or the like."""
    if doc.before(context.NOT_AN_ADDRESS, start, 14):
        return True
    index = doc.index_at(start)
    return doc.key_of(index) is not None and doc.named(context.NOT_AN_ADDRESS, index)


def _ipv6(doc: Document, start: int, end: int, *, private: bool) -> Hit | None:
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
    return start, end, Confidence.MEDIUM


def mac(doc: Document, start: int, end: int) -> Hit | None:
    """Judge six octets joined one way, no more and no fewer."""
    raw = doc.raw
    value = raw[start:end]
    joint = value[2] if value[2] not in ALPHANUMERIC else value[4]
    if not clear(raw, start, end) or (
        raw[start - 1] in b".*"
        or (raw[start - 1] == joint and raw[start - 2] in ALPHANUMERIC)
        or (raw[end] == joint and raw[end + 1] in ALPHANUMERIC)
    ):
        return None
    digits = bytes([byte for byte in value if byte in ALPHANUMERIC]).lower()
    if len(set(digits)) < 2:
        return None
    lettered = any(byte in _HEX_LETTERS for byte in digits)
    mixed = lettered and any(byte in DIGITS for byte in digits)
    if joint != 0x3A and not mixed and not doc.near(context.HARDWARE_ADDRESS, start, end):
        return None
    return start, end, Confidence.MEDIUM
