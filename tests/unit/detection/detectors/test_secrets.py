"""Secrets of every kind, and what is none."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest

from detection import Scan
from tests.unit.detection.detectors.made_up import HEX, LETTERS_AND_DIGITS, segment, some, token

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]

SECRETS = {
    "aws_key": [
        token("AKIA", some(string.ascii_uppercase + "234567", 16)),
        token("ASIA", some(string.ascii_uppercase + string.digits, 16)),
    ],
    "gcp_key": [token("AIza", 35), token("ya29.", 60), token("GOCSPX-", 28)],
    "azure_key": [
        token("AccountKey=", 86, "=="),
        token("SharedAccessKey=", 43, "="),
        token("abc8Q~", 34),
    ],
    "github_token": [
        token("ghp_", 36),
        token("gho_", 36),
        token("ghs_", 36),
        token("github_pat_", 22, "_", 59),
    ],
    "gitlab_token": [token("glpat-", 20), token("glrt-", 20), token("gldt-", 20)],
    "slack_token": [
        token("xoxb-", some("0123456789", 12), "-", some("0123456789", 12), "-", 24),
        token("xoxp-", some("0123456789", 12), "-", 32),
        token("xapp-1-A", 10, "-", some("0123456789", 13), "-", some(HEX, 64)),
        token("https://hooks.slack.com/services/T", 8, "/B", 8, "/", 24),
    ],
    "stripe_key": [
        token("sk_live_", 24),
        token("rk_live_", 24),
        token("sk_test_", 32),
        token("whsec_", 32),
    ],
    "openai_key": [token("sk-", 48), token("sk-proj-", 64), token("sk-", 20, "T3BlbkFJ", 20)],
    "anthropic_key": [token("sk-ant-api03-", 93, "AA")],
    "npm_token": [token("npm_", 36), token("_authToken=", 40)],
    "pypi_token": [token("pypi-AgEIcHlwaS5vcmc", 120)],
    "sendgrid_key": [token("SG.", 22, ".", 43)],
    "twilio_key": [token("SK", some(HEX, 32)), token("twilio auth ", some(HEX, 32))],
    "telegram_token": [token(some("123456789", 10), ":AA", 33)],
    "discord_token": [
        token("MTA", 21, ".", 6, ".", 27),
        token("https://discord.com/api/webhooks/", some("123456789", 18), "/", 68),
    ],
    "square_token": [token("EAAA", 60), token("sq0atp-", 22), token("sq0csp-", 43)],
    "mailchimp_key": [token(some(HEX, 32), "-us14")],
    "vendor_key": [token("hf_", some(string.ascii_letters, 34)), token("dop_v1_", some(HEX, 64))],
    "jwt": [
        ".".join(
            (
                segment({"alg": "HS256", "typ": "JWT"}),
                segment({"sub": "1"}),
                some(LETTERS_AND_DIGITS, 43),
            )
        ),
        ".".join((segment({"alg": "none"}), segment({"sub": "123", "name": "x"}), "")),
    ],
    "private_key": [
        "-----BEGIN RSA PRIVATE KEY-----\n"
        + some(LETTERS_AND_DIGITS, 64)
        + "\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\\n" + some(LETTERS_AND_DIGITS, 64),
        "-----BEGIN OPENSSH PRIVATE KEY-----\n" + some(LETTERS_AND_DIGITS, 64),
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + some(LETTERS_AND_DIGITS, 64),
    ],
    "url_credentials": [
        "https://admin:s3cr3t-Pa55@example.com/",
        "postgres://app:hunter2@db.internal:5432/x",
        "mongodb+srv://u:p%40ssw0rd@cluster0.mongodb.net",
        "redis://:9fj2k3l1@cache:6379",
    ],
    "credential_assignment": [
        "password=Tr0ub4dor&3",
        "password: hunter2",
        "PASSWORD = 'correct-h0rse'",
        'db_password: "x9$kQ2!z"',
        "pwd=Summer2024!",
        "api_key: 9f8e7d6c5b4a39281706f5e4d3c2b1a0",
        "API-KEY=zX81kLm20qPw93nRt5",
        "client_secret=4kJ8sLq0ZpXw7nVb3tYu",
        "secret: 7f3a9c1e5b8d2046",
        "Authorization: Bearer 8sJ2kf93LsmQ0x7vTzR4wY1n",
        "curl -u admin:S3cretPw9",
        "mysql --password=Zk39fj20",
        "contraseña: Verano2024!",
        "export TOKEN=a8f5f167f44f4964e6c998dee827110c",
    ],
}


@pytest.mark.parametrize(
    ("detector", "secret"), [(detector, s) for detector, ss in SECRETS.items() for s in ss]
)
@pytest.mark.parametrize("around", ["{}", "deploy with {} today", '{{"v": "{}"}}'])
def test_secrets_are_found(find: Find, detector: str, secret: str, around: str) -> None:
    hits = find(around.format(secret))
    assert detector in [hit.split(":")[0] for hit in hits]


@pytest.mark.parametrize(
    "content",
    [
        {"password": "hunter2!"},
        {"dbPassword": "x9$kQ2!z"},
        {"user": {"api_key": "zX81kLm20qPw93nRt5"}},
        {"aws": {"secretAccessKey": "q8Zk2LmN0pQrSt7vWxYz1834Ab3dEf9hIjKl9+/a"}},
        {"headers": {"Authorization": "Basic YWRtaW46czNjcjN0cGFzcw=="}},
    ],
)
def test_secrets_under_their_keys(scan: Detect, content: object) -> None:
    assert any(f.kind.name == "SECRET" for f in scan(content).findings)


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY is the aws secret",
        "sk_" + "test_4eC39HqLyjWDarjtT1zdp7dc",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "password=********",
        "password=${DB_PASSWORD}",
        "password: <your-password>",
        "password: required",
        "password: Required",
        "password = os.environ['PW']",
        "Password reset e-mail sent",
        "password must be at least 8 characters",
        "token: string",
        "api_key: YOUR_API_KEY",
        "apiKey: process.env.API_KEY",
        "token=null",
        "secret: vault:kv/data/app",
        "token_type: bearer",
        "the token expired at 2024-01-01",
        "passphrase is optional",
        "https://user:password@example.com/",
        "http://host:8080/a@b",
        "postgres://app:${PASSWORD}@db/x",
        "We look for -----BEGIN RSA PRIVATE KEY----- headers",
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQ",
        "eyJub3QiOiJhIGp3dCJ9.abc.def",
        "d41d8cd98f00b204e9800998ecf8427e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "pass=1 fail=0",
        "sk-learn-contrib-package-name-that-is-long",
        "Basic understanding of the subject matter required",
        "pk_live_is_publishable",
        "key-value store",
        "monkey: banana123456",
        "compass: north123",
        "tokens: 1500",
        "max_tokens=2048",
        "git commit 3f786850e387550fdab836ed7e6dc881de23001b",
    ],
)
def test_samples_placeholders_and_talk_pass(find: Find, text: str) -> None:
    assert find(text) == []


EVERYDAY = {
    "masked log": "\n".join(f"user=bob{n} password=******** ok" for n in range(1_000)),
    "keys": [{"token": "none", "n": n} for n in range(1_000)],
    "templates": "\n".join(f"postgres://user:password@host{n}/db" for n in range(2_000)),
    "dates": {"note": "born in Rome", "dates": [f"2024-05-{n % 28 + 1:02}" for n in range(2_000)]},
    "codes": {"note": "lost passport", "codes": [f"X{n:06}" for n in range(3_000)]},
    "licences": {"note": "driving licence needed", "codes": [f"AB-{n:06}" for n in range(3_000)]},
    "numbers": {"note": "ss number unknown", "ids": [10**8 + 7 * n for n in range(5_000)]},
    "parts": " ".join(f"SE{n % 100:02}{n:012}" for n in range(1_000)),
}


@pytest.mark.parametrize("name", EVERYDAY)
def test_lists_of_what_is_nothing_pass(scan: Detect, name: str) -> None:
    assert scan(EVERYDAY[name]).detectors == ()
