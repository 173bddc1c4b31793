"""The built-in detectors, a file each. Whoever adds one adds its file and a line here.

The order settles ties: of two findings of the same characters that are as sure and as long, the
one whose detector comes first stays.
"""

from __future__ import annotations

from importlib import import_module

from detection.detector import Detector

_FILES = (
    "payment_card",
    "iban",
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
    "private_key",
    "jwt",
    "aws_key",
    "gcp_key",
    "azure_key",
    "github_token",
    "gitlab_token",
    "slack_token",
    "stripe_key",
    "anthropic_key",
    "openai_key",
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
)

DETECTORS: tuple[Detector, ...] = tuple(
    [import_module(f"{__name__}.{name}").DETECTOR for name in _FILES]
)
