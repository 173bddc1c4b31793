"""IP addresses that can be reached from anywhere, or stand for such."""

from __future__ import annotations

from functools import partial

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.findings import Kind
from detection.ip_addresses import (
    IPV6,
    IPV6_PREFILTER,
    MORE,
    NOT_AN_ADDRESS,
    OCTET,
    PORT,
    QUAD_PREFILTER,
    judge_ipv4,
    judge_ipv6,
)
from detection.words import Words

NETWORK_WORDS = Words(
    "ip", "ips", "ipv4", "addr", "address", "host", "client", "server", "from", "peer", "remote",
    "src", "dst", "source", "destination", "ping", "gateway", "dns", "nameserver", "subnet", "port",
    "proxy", "endpoint", "login", "connection", "adresse", "direccion", "indirizzo", "adres",
    "адрес", "地址", "アドレス",
)  # fmt: skip

_BIG = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[2-9][0-9])"
_IPV4 = (
    rf"\b(?:{_BIG}(?:\.{OCTET}){{3}}|{OCTET}\.{_BIG}(?:\.{OCTET}){{2}}"
    rf"|(?:{OCTET}\.){{2}}{_BIG}\.{OCTET}|(?:{OCTET}\.){{3}}{_BIG}"
    rf"|1\.1\.1\.1|1\.0\.0\.1|8\.8\.8\.8|8\.8\.4\.4|9\.9\.9\.9){MORE}"
)
# Four small numbers are a version or a section more often than an address.
_SMALL_IPV4 = rf"\b1?[0-9](?:\.1?[0-9]){{3}}{MORE}"


def small_ipv4(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a dotted quad of small numbers: it needs a port, or a word that says address."""
    named = (
        PORT.match(doc.raw, end)
        or doc.before(NETWORK_WORDS, start)
        or doc.named(NETWORK_WORDS, doc.index_at(start))
    )
    return judge_ipv4(doc, start, end, private=False) if named else None


DETECTOR = Detector(
    "ip_address",
    Kind.PII,
    # Refused candidates are not limited: what one of these refuses the other one may take, and
    # either check is quick. Thousands of private addresses are none that is public.
    (
        Rule(_IPV4, partial(judge_ipv4, private=False), prefilter=QUAD_PREFILTER),
        Rule(IPV6, partial(judge_ipv6, private=False), prefilter=IPV6_PREFILTER),
        Rule(_SMALL_IPV4, small_ipv4, prefilter=r"\b1?[0-9]\.1?[0-9]\.1?[0-9]\.1?[0-9]\b"),
    ),
    words=(NETWORK_WORDS, NOT_AN_ADDRESS),
    hits=("from 203.0.113.42 at noon", "login from 1.2.3.4", "http://[2001:db8::1]:80/"),
    misses=("version 8.8.8.8", "section 4.3.2.1", "10.1.2.3", "127.0.0.1", "std::vector"),
)
