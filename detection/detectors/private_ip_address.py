"""IP addresses that say nothing outside a network: private and link-local ones."""

from __future__ import annotations

from functools import partial

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.ip_addresses import (
    IPV6,
    IPV6_PREFILTER,
    MORE,
    NOT_AN_ADDRESS,
    OCTET,
    QUAD_PREFILTER,
    judge_ipv4,
    judge_ipv6,
)

_IPV4 = (
    rf"\b(?:10\.{OCTET}|172\.(?:1[6-9]|2[0-9]|3[01])|192\.168|169\.254"
    rf"|100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\.{OCTET}\.{OCTET}{MORE}"
)


DETECTOR = Detector(
    "private_ip_address",
    Kind.PII,
    # Refused candidates are not limited, see `ip_address`.
    (
        Rule(_IPV4, partial(judge_ipv4, private=True), prefilter=QUAD_PREFILTER),
        Rule(IPV6, partial(judge_ipv6, private=True), prefilter=IPV6_PREFILTER),
    ),
    words=(NOT_AN_ADDRESS,),
    hits=("from 10.1.2.3 at noon", "172.16.0.9", "fd00:1::2"),
    misses=("8.8.8.8", "172.32.0.9", "2a00:1450:4009:80b::200e", "version 10.1.2.3"),
)
