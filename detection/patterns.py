"""The table of what is looked for: a pattern, the check it must pass, the words it needs.

Patterns are RE2: no look-around, no back-references, and no ``\\s``, which would cross from one
text into the next. They propose candidates and are kept loose; the checks decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detection import (
    addresses,
    cards,
    context,
    credentials,
    ibans,
    identities,
    phones,
    wallets,
)
from detection.document import Document
from detection.findings import Kind
from detection.hit import Hit

Check = Callable[[Document, int, int], Hit | None]

NO_LIMIT = 1 << 30
_LONG = 3_000
"""Patience with what occurs over and over in logs: masked passwords, samples, part numbers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which a detector finds values.

    ``gate`` is what must occur somewhere in a submission for candidates to be looked up at all:
    the beginning of what ``pattern`` matches, or the words without which no candidate passes.
    Gates run together as one automaton over every text, so they count little and end early: what
    they let through the pattern refuses. ``step`` is how far behind the start of a refused
    candidate the search goes on (0: behind its end). ``patience`` is how many candidates may be
    refused in one scan; from there on every candidate counts as found, so that a text made of
    near misses cannot buy more than that many costly checks.
    """

    detector: str
    gate: str
    pattern: str
    check: Check
    step: int = 0
    patience: int = NO_LIMIT


SPANS_BESIDE: dict[str, Callable[[Document, int, int], list[tuple[int, int]]]] = {
    "payment_card": cards.codes_near,
    "credential_assignment": credentials.rest_of_value,
}
"""What belongs to a finding of a detector and is hidden with it: spans of the joined bytes."""

TEXTS_BESIDE: dict[str, Callable[[Document, list[tuple[int, int]], bool], list[int]]] = {
    "payment_card": cards.codes_beside,
    "aws_key": credentials.secrets_beside,
    "private_key": credentials.lines_beside,
}
"""The same, for all findings of a detector at once: numbers of texts that are hidden whole. Asked
is also whether the submission is refused."""

KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "iban",
            "payment_card",
            "us_ssn",
            "us_itin",
            "us_routing_number",
            "crypto_wallet",
            "email",
            "phone",
            "ip_address",
            "private_ip_address",
            "mac_address",
            "passport",
            "driving_licence",
            "date_of_birth",
        ),
        Kind.PII,
    ),
    **dict.fromkeys(
        (
            "private_key",
            "jwt",
            "aws_key",
            "gcp_key",
            "azure_key",
            "github_token",
            "gitlab_token",
            "slack_token",
            "stripe_key",
            "openai_key",
            "anthropic_key",
            "npm_token",
            "pypi_token",
            "sendgrid_key",
            "twilio_key",
            "telegram_token",
            "discord_token",
            "square_token",
            "mailchimp_key",
            "vendor_key",
            "url_credentials",
            "credential_assignment",
        ),
        Kind.SECRET,
    ),
}
"""Every built-in detector; the order settles ties, see the scanner."""

_HEX = "[0-9A-Fa-f]"
_WORD = "[A-Za-z0-9_-]"
_JOINT = r"[ \t._/-]{1,3}"

_LONG_NUMBER = "[0-9]{12}"
_FOURS = rf"[0-9]{{4}}{_JOINT}[0-9]{{4}}{_JOINT}[0-9]{{4}}"
_CARD_GROUPS = (
    rf"[0-9]{{4}}{_JOINT}[0-9]{{5}}|[0-9]{{6}}{_JOINT}[0-9]{{8}}"
    rf"|[0-9]{{2}}{_JOINT}[0-9]{{2}}{_JOINT}[0-9]{{2}}{_JOINT}[0-9]{{2}}{_JOINT}[0-9]{{2}}"
    rf"|\b[0-9]{_JOINT}[0-9]{_JOINT}[0-9]{_JOINT}[0-9]{_JOINT}[0-9]{_JOINT}[0-9]\b"
)
_THREE_TWO_FOUR = r"[0-9]{3}[ \t./_-]{1,3}[0-9]{2}[ \t./_-]{1,3}[0-9]{4}"
_QUAD = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_SMALL_QUAD = r"\b1?[0-9]\.1?[0-9]\.1?[0-9]\.1?[0-9]\b"
_COLONS = rf"{_HEX}::|::{_HEX}|:{_HEX}{{1,4}}:{_HEX}{{1,4}}:{_HEX}{{1,4}}:"
_OCTETS = rf"{_HEX}{{2}}[:-]{_HEX}{{2}}[:-]{_HEX}{{2}}[:-]|{_HEX}{{4}}\.{_HEX}{{4}}\."

RULES: tuple[Rule, ...] = (
    Rule("payment_card", _LONG_NUMBER, cards.CONTIGUOUS, cards.contiguous),
    Rule("payment_card", _FOURS, cards.FOURS, cards.fours),
    Rule("payment_card", _CARD_GROUPS, cards.OTHER_GROUPS, cards.grouped),
    Rule("payment_card", cards.LISTED_GATE, cards.LISTED, cards.listed),
    Rule("payment_card", cards.BROKEN_GATE, cards.BROKEN, cards.broken),
    Rule("iban", ibans.GATE, ibans.PATTERN, ibans.check, step=4, patience=_LONG),
    Rule("us_ssn", _THREE_TWO_FOUR, identities.SSN, identities.separated_ssn),
    Rule(
        "us_ssn",
        context.SSN.source,
        identities.SSN_IN_TABLE,
        identities.separated_ssn,
    ),
    Rule("us_ssn", context.SSN.source, identities.SSN_NUMBER, identities.bare_ssn),
    Rule("us_ssn", identities.SSN_LISTED_GATE, identities.SSN_LISTED, identities.listed_ssn),
    Rule("us_itin", context.TAXPAYER.source, identities.ITIN, identities.itin),
    Rule("us_routing_number", context.ROUTING.source, identities.NINE_DIGITS, identities.routing),
    Rule("crypto_wallet", wallets.BASE58_GATE, wallets.BASE58, wallets.base58, patience=400),
    Rule(
        "crypto_wallet",
        "(?i:(?:bc|tb|ltc)1[a-z0-9]{8})",
        wallets.BECH32,
        wallets.bech32,
        patience=100,
    ),
    Rule("crypto_wallet", f"0[xX]{_HEX}{{8}}", wallets.ETHEREUM, wallets.ethereum, patience=8),
    Rule("crypto_wallet", "bitcoincash:", wallets.CASH, wallets.cash),
    Rule("crypto_wallet", wallets.MONERO_GATE, wallets.MONERO, wallets.monero),
    Rule("email", addresses.EMAIL_GATE, addresses.EMAIL, addresses.email),
    Rule("email", addresses.EMAIL_SPELLED_GATE, addresses.EMAIL_SPELLED, addresses.email_spelled),
    Rule("phone", r"\+[ (]{0,2}[1-9]", phones.INTERNATIONAL, phones.international),
    Rule("phone", r"\b0(?:0|11)[ -]?\(?[1-9]", phones.EXIT_CODE, phones.exit_code),
    Rule("phone", phones.NORTH_AMERICAN, phones.NORTH_AMERICAN, phones.north_american),
    Rule("phone", phones.TRUNK_GATE, phones.TRUNK, phones.trunk),
    Rule("phone", r"\([1-9][0-9]{1,4}\) ?[0-9]", phones.AREA_IN_BRACKETS, phones.area_in_brackets),
    Rule(
        "phone",
        r"\b1[3-9][0-9][ -][0-9]{4}[ -]|\b8[ -]\(?[3-9][0-9]{2}\)?[ -]",
        phones.MOBILE,
        phones.mobile,
    ),
    Rule("phone", context.PHONE.source, phones.NAMED, phones.named),
    Rule("ip_address", _QUAD, addresses.IPV4, addresses.public_ipv4),
    # No end of patience here: what one of these refuses the other one may take, and either check
    # is quick. Thousands of private addresses are none that is public.
    Rule("ip_address", _COLONS, addresses.IPV6, addresses.public_ipv6),
    Rule("ip_address", _SMALL_QUAD, addresses.IPV4_SMALL, addresses.small_ipv4),
    Rule("private_ip_address", _QUAD, addresses.IPV4_PRIVATE, addresses.private_ipv4),
    Rule("private_ip_address", _COLONS, addresses.IPV6, addresses.private_ipv6),
    Rule("mac_address", _OCTETS, addresses.MAC, addresses.mac),
    Rule("passport", context.PASSPORT.source, identities.PASSPORT, identities.passport),
    Rule(
        "driving_licence",
        context.LICENCE.source,
        identities.LICENCE,
        identities.licence,
    ),
    Rule("date_of_birth", context.BIRTH.source, identities.DATE, identities.birth_date),
    Rule(
        "private_key",
        credentials.PRIVATE_KEY_GATE,
        credentials.PRIVATE_KEY,
        credentials.private_key,
        patience=_LONG,
    ),
    Rule("jwt", "eyJ[A-Za-z0-9_-]{8}", credentials.JWT, credentials.jwt, patience=_LONG),
    Rule("aws_key", credentials.AWS_GATE, credentials.AWS, credentials.exact),
    Rule(
        "aws_key",
        f"{context.AWS.source}|{credentials.AWS_GATE}",
        credentials.AWS_SECRET,
        credentials.aws_secret,
    ),
    Rule("gcp_key", rf"AIza{_WORD}{{4}}|ya29\.|GOCSPX-", credentials.GCP, credentials.vendor),
    Rule("azure_key", credentials.AZURE_GATE, credentials.AZURE, credentials.assigned),
    Rule(
        "azure_key", credentials.AZURE_SIGNED_GATE, credentials.AZURE_SIGNED, credentials.assigned
    ),
    Rule(
        "github_token",
        "gh[pousr]_[A-Za-z0-9]{4}|github_pat_",
        credentials.GITHUB,
        credentials.vendor,
    ),
    Rule(
        "gitlab_token",
        rf"gl[a-z]{{2,5}}-{_WORD}{{4}}|GR1348941",
        credentials.GITLAB,
        credentials.vendor,
    ),
    Rule("slack_token", r"xox[a-z][-.]|xapp-|hooks\.slack", credentials.SLACK, credentials.vendor),
    Rule("stripe_key", "[sr]k_(?:live|test|prod)_|whsec_", credentials.STRIPE, credentials.vendor),
    Rule("anthropic_key", "sk-ant-", credentials.ANTHROPIC, credentials.vendor),
    Rule("openai_key", f"sk-{_WORD}{{8}}", credentials.OPENAI, credentials.vendor),
    Rule("npm_token", "npm_[A-Za-z0-9]{4}|_authToken", credentials.NPM, credentials.vendor),
    Rule("pypi_token", f"pypi-{_WORD}{{4}}", credentials.PYPI, credentials.vendor),
    Rule("sendgrid_key", rf"SG\.{_WORD}{{8}}", credentials.SENDGRID, credentials.vendor),
    Rule("twilio_key", f"(?:SK|AC){_HEX}{{8}}", credentials.TWILIO, credentials.exact),
    Rule("twilio_key", context.TWILIO.source, credentials.TWILIO_TOKEN, credentials.twilio_token),
    Rule("telegram_token", f"[0-9]{{4}}:{_WORD}{{8}}", credentials.TELEGRAM, credentials.telegram),
    Rule("discord_token", credentials.DISCORD_GATE, credentials.DISCORD, credentials.vendor),
    Rule(
        "square_token", f"EAAA{_WORD}{{4}}|sq0[a-z]{{3}}-", credentials.SQUARE, credentials.vendor
    ),
    Rule("mailchimp_key", "[0-9a-f]-us[0-9]", credentials.MAILCHIMP, credentials.exact),
    Rule(
        "vendor_key", credentials.OTHER_VENDORS_GATE, credentials.OTHER_VENDORS, credentials.vendor
    ),
    Rule(
        "url_credentials",
        "://[^ /]*:[^ ]+@",
        credentials.URL_CREDENTIALS,
        credentials.url_credentials,
    ),
    Rule(
        "credential_assignment",
        credentials.ASSIGNMENT_GATE,
        credentials.ASSIGNMENT,
        credentials.assignment,
        patience=_LONG,
    ),
    Rule(
        "credential_assignment",
        credentials.NAMED_KEY,
        credentials.NAMED_KEY,
        credentials.keyed,
        patience=_LONG,
    ),
)
