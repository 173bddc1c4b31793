from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

import pytest
from google.protobuf import json_format, struct_pb2

from detection import Policy, Scan, Scanner
from detection.fields import walk
from detection.policy import parse_policy

Find = Callable[[str], list[str]]
Detect = Callable[[object], Scan]

REDACT = Scanner(parse_policy("version: 1\naction: redact\n"))
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


def test_a_private_key_is_masked_to_its_end(find: Find) -> None:
    body = "-----BEGIN EC PRIVATE KEY-----\n" + "MHcCAQEEIKhlkj29fjk3lsk\n" * 3
    key = body + "-----END EC PRIVATE KEY-----"
    assert f"private_key:{key}" in find(f"before\n{key}\nafter")


LINE = some(LETTERS_AND_DIGITS + "+/", 64) + "\n"
PGP = (
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\nComment: made by hand\n\n"
    + LINE * 400
    + "=Ab1C\n-----END PGP PRIVATE KEY BLOCK-----"
)
RSA = "-----BEGIN RSA PRIVATE KEY-----\n" + LINE * 20 + "-----END RSA PRIVATE KEY-----"
CUT = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n" + LINE * 3 + "MIIEv"
PUTTY = (
    "PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nComment: me\nPublic-Lines: 2\n"
    f"{LINE * 2}Private-Lines: 2\n{LINE * 2}Private-MAC: {some(HEX, 40)}\n"
)


@pytest.mark.parametrize(
    "key",
    [
        PGP,
        RSA,
        RSA.replace("\n", "\\n"),
        RSA.replace("\n", "\r\n"),
        RSA.replace("\n", "%0A").replace(" ", "%20").replace("+", "%2B"),
        RSA.replace("\n", "%0A").replace("+", "%2B").replace(" ", "+"),
        PUTTY,
    ],
)
@pytest.mark.parametrize("around", ["{}", 'a "{}" b', "before\n{}\nand the end"])
def test_a_key_block_is_one_finding_of_any_size(find: Find, key: str, around: str) -> None:
    (hit,) = [hit for hit in find(around.format(key)) if hit.startswith("private_key:")]
    assert hit.removeprefix("private_key:").rstrip() == key.rstrip()


@pytest.mark.parametrize(
    "joint", ["\n> ", "\n   | ", "\n * ", '" .\n"', "\n2026-01-01 INFO ", "<br>"]
)
def test_a_key_that_is_cut_off_is_hidden_to_the_end(find: Find, joint: str) -> None:
    cut = joint.join(CUT.split("\n"))
    assert find(f"before {cut}\nand the end") == [f"private_key:{cut}\nand the end"]


def test_a_key_in_a_list_of_lines_is_hidden_whole(
    scanner: Scanner, to_value: Callable[[object], struct_pb2.Value]
) -> None:
    data = to_value({"key": RSA.split("\n"), "note": "kept"})
    for policy in (Policy.default(), parse_policy("version: 1\naction: redact\n")):
        scan = Scanner(policy).scan(walk(data, 8), "")
        kept = json_format.MessageToJson(scan.mask(data))
        assert scan.detectors == ("private_key",)
        assert LINE.strip() not in kept and "note" in kept
    header = ["-----BEGIN PRIVATE KEY-----", "is what keys begin with", "or so"]
    assert scanner.scan(walk(to_value(header), 8), "").findings == ()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("password=Tr0ub4,dor&3xZ9q end", "password=**************** end"),
        ("Uid=u;Pwd=Tr0ub4dor<3xZ9q;a", "Uid=u;Pwd=***************;a"),
        ("a=1&password=Tr0ub4dor&b=2 c", "a=1&password=************* c"),
        ('{"password":"Tr0ub4dor!","a":1}', '{"password":"**********","a":1}'),
    ],
)
def test_a_password_is_hidden_to_its_end(
    to_value: Callable[[object], struct_pb2.Value], text: str, kept: str
) -> None:
    scan = REDACT.scan(walk(to_value(text), 8), "")
    assert scan.mask(to_value(text)).string_value == kept


def test_of_refused_key_ids_no_secret_is_kept(
    scanner: Scanner, to_value: Callable[[object], struct_pb2.Value]
) -> None:
    data = to_value({"a": {"id": AWS_ID}, "b": [{"v": AWS_SECRET}], "c": "kept"})
    kept = json_format.MessageToJson(scanner.scan(walk(data, 8), "").mask(data))
    assert AWS_SECRET not in kept and AWS_ID not in kept and "kept" in kept


def test_many_key_heads_cost_what_one_costs(to_value: Callable[[object], struct_pb2.Value]) -> None:
    text = "PuTTY-User-Key-File-2:AAAAAAAAAAAA\n" * 1_000
    spans = [(f.start, f.end) for f in REDACT.scan(walk(to_value(text), 8), "").findings]
    assert {end - start for start, end in spans} == {35}


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


def test_several_key_blocks_are_several_findings(find: Find) -> None:
    assert find(f"{RSA}\n{PGP}\n{CUT}\n{RSA}") == [
        f"private_key:{key}" for key in (RSA, PGP, CUT + "\n", RSA)
    ]


AWS_ID = token("AKIA", some(string.ascii_uppercase + "234567", 16))
AWS_SECRET = token(18, "9+/Zq", 17)


@pytest.mark.parametrize(
    "content",
    [
        f"{AWS_ID},{AWS_SECRET}",
        f"id {AWS_ID}\nsecret {AWS_SECRET}",
        f"User,Access key,Secret\nbob,{AWS_ID},{AWS_SECRET}\n",
        f"[default]\naws_access_key_id = {AWS_ID}\naws_secret_access_key = {AWS_SECRET}\n",
        {"id": AWS_ID, "value": AWS_SECRET},
        {"value": AWS_SECRET, "zone": "x", "who": f"key {AWS_ID}"},
        [AWS_SECRET, AWS_ID],
    ],
)
def test_the_secret_beside_an_aws_id_is_found(scan: Detect, content: object) -> None:
    findings = scan(content).findings
    assert [finding.detector for finding in findings] == ["aws_key"] * 2
    assert {finding.end - finding.start for finding in findings} == {20, 40}


def test_forty_characters_alone_are_no_aws_secret(scan: Detect) -> None:
    assert scan({"a": AWS_SECRET, "b": {"id": AWS_ID}}).finding_count == 1
    assert scan(AWS_SECRET).findings == ()


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgres://bob:p@ss:w0rd/1@host/db", "p@ss:w0rd/1"),
        ("amqp://u:p%40@h", "p%40"),
        ("redis://:pw@host:6379/0", "pw"),
        ("https://bob:s3cr#t?x/y@h.example.org/a", "s3cr#t?x/y"),
        ("mongodb://app:a:b/c@d@mongo-1:27017/x", "a:b/c@d"),
        ("ftp://me:hunt3r@files/a@2x.png", "hunt3r@files/a"),
    ],
)
def test_a_password_in_a_url_reaches_to_the_last_at(find: Find, url: str, password: str) -> None:
    assert find(f"see {url} now") == [f"url_credentials:{password}"]


def test_each_url_has_its_own_password(find: Find) -> None:
    assert find("a://u:s3cret1@h,b://v:s3cret2@i") == [
        "url_credentials:s3cret1",
        "url_credentials:s3cret2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "http://[::1]:8080/a@b",
        "http://host:8080?x=a@b",
        "https://registry:4873/@scope/pkg",
        "https://user:password@example.com/x@2",
        "http://a:80/x http://b:81/y@z",
    ],
)
def test_ports_and_paths_are_no_passwords(find: Find, text: str) -> None:
    assert find(text) == []


def test_a_header_of_many_levels_is_no_token(find: Find) -> None:
    assert find(segment(json.loads("[" * 900 + "]" * 900)) + ".abcd.efgh") == []
    deep = base64.urlsafe_b64encode(b'{"a":' + b"[" * 100_000).decode().rstrip("=")
    assert find(deep + ".abcd.efgh") == []
