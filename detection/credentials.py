"""Secrets: vendor keys by their shapes, and values that are assigned to secret-sounding names."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections import Counter
from math import log2

from detection import context
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS, LETTERS, clear_before, word_before
from detection.engine import Pattern, every
from detection.findings import Confidence
from detection.hit import Hit
from detection.normalize import fold

_BLANK = r"(?: |%20|\+)"  # or what form encoding makes of it
PRIVATE_KEY = (
    rf"-{{4,5}}{_BLANK}?BEGIN{_BLANK}(?:[A-Z0-9]+{_BLANK}){{0,3}}PRIVATE{_BLANK}KEY"
    rf"(?:{_BLANK}BLOCK)?{_BLANK}?-{{4,5}}|PuTTY-User-Key-File-[23]:"
)
PRIVATE_KEY_GATE = rf"PRIVATE{_BLANK}KEY|PuTTY-User"
JWT = r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"

AWS = r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}|ABSK[A-Za-z0-9+/]{100,}={0,2}"
AWS_GATE = "A(?:KI|SI|BI|CC|3T|BS)[A-Z0-9]{5}"
AWS_SECRET = r"[A-Za-z0-9/+]{40}"  # noqa: S105 - a pattern
GCP = r"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[A-Za-z0-9_-]{24,}"
AZURE = (
    r"(?i:AccountKey|SharedAccessKey) ?= ?([A-Za-z0-9+/]{40,}={1,2})"
    r"|\b([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})"
    r"|[?&;](?i:sig)=([A-Za-z0-9%+/]{40,}(?:%3[Dd]|=)?)"
    r"|([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})"
    r"|\b([A-Za-z0-9]{52}JQQJ9[A-Za-z0-9]{10,})"
)
AZURE_GATE = r"(?i:accountkey|sharedaccesskey) ?=|[?&;](?i:sig)=|[0-9]Q~|AZDO|JQQJ9"
# By itself: beside the others it is looked for up to the end of a run again after each of them.
AZURE_SIGNED = r"\b[A-Za-z0-9+/]{33,}\+(?:AMC|ABa|ASt|ACR|AzSe)[A-Za-z0-9+/]{5}[AQgw]==?"
AZURE_SIGNED_GATE = r"\+(?:AMC|ABa|ASt|ACR|AzSe)"
GITHUB = r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}"
GITLAB = (
    r"gl(?:pat|dt|rt|rtr|ptt|ft|soat|agent|oas|cbt|imt|ffct|wt)-(?:t[0-9]_)?[A-Za-z0-9_.-]{20,}"
    r"|GR1348941[A-Za-z0-9_-]{20}"
)
SLACK = (
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xoxe\.xox[bp]-[0-9]-[A-Za-z0-9]{20,}"
    r"|xapp-[0-9]-[A-Za-z0-9]+-[0-9]+-[A-Za-z0-9]+"
    r"|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{24,}"
)
STRIPE = r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,}"
ANTHROPIC = r"sk-ant-[A-Za-z0-9_-]{20,}"
OPENAI = (
    r"sk-(?:proj|svcacct|admin|None|service)-[A-Za-z0-9_-]{20,}"
    r"|sk-[A-Za-z0-9]{32,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"
)
NPM = r"npm_[A-Za-z0-9]{36}|_authToken ?= ?\"?([A-Za-z0-9+/=-]{20,})"
PYPI = r"pypi-[A-Za-z0-9_-]{50,}"
SENDGRID = r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"
TWILIO = r"(?:SK|AC)[0-9a-fA-F]{32}"
TWILIO_TOKEN = r"[0-9a-f]{32}"  # noqa: S105 - a pattern
TELEGRAM = r"[0-9]{8,10}:[A-Za-z0-9_-]{35}"
DISCORD = (
    r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}|mfa\.[A-Za-z0-9_-]{80,}"
    r"|discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/[0-9]{16,20}/[A-Za-z0-9_-]{60,}"
)
DISCORD_GATE = r"[A-Za-z0-9_-]\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{8}|mfa\.|discord"
SQUARE = r"EAAA[A-Za-z0-9_-]{22,}|sq0(?:atp|csp|idp|cgp)-[A-Za-z0-9_-]{22,}"
MAILCHIMP = r"[0-9a-f]{32}-us[0-9]{1,2}"
OTHER_VENDORS = (
    r"hf_[A-Za-z]{34}|do[por]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|dapi[a-f0-9]{32}|dckr_pat_[A-Za-z0-9_-]{20,}|hvs\.[A-Za-z0-9_-]{24,}|lin_api_[A-Za-z0-9]{40}"
    r"|ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}|key-[0-9a-f]{32}|rubygems_[a-f0-9]{48}"
    r"|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|phc_[A-Za-z0-9]{43}|gsk_[A-Za-z0-9]{48,}"
    r"|xai-[A-Za-z0-9]{60,}|sntrys_[A-Za-z0-9+/=_]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{58}"
)
OTHER_VENDORS_GATE = (
    r"\b(?:hf_|do[por]_v1_|shp[acs]{2}t?_|shpss_|dapi[a-f0-9]{4}|dckr_pat_|hvs\.|lin_api_|ntn_|secret_"
    r"|key-[0-9a-f]{4}|rubygems_|glsa_|phc_|gsk_|xai-|sntrys_|AGE-SECRET)"
)

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_NOT_IN_URL = r" \t\r\n\x1f\"'<>"
# A password may hold what should have been encoded, "@" and "/" included, but no second "://".
_IN_PASSWORD = rf"(?:[^{_NOT_IN_URL}:]|:+/?[^{_NOT_IN_URL}:/])"
URL_CREDENTIALS = (
    rf"{_SCHEME}[^{_NOT_IN_URL}/?#@:]*:({_IN_PASSWORD}{{2,}})@"
    r"[A-Za-z0-9\[._-]"
)

_VALUE = r"[^ \t\r\n\x1f\"'`,;<>&|]{6,}"
_QUOTED = r"\"([^\"\r\n\x1f]{6,})\"|'([^'\r\n\x1f]{6,})'"
_JOINT = "[_ .-]?"
_NAMES = fold(
    r"(?:(?i:passwor[dt]|passwd|passwort|kennwort|contrasenya|contrasena|wachtwoord|passphrase"
    r"|passcode|пароль|密码|密碼|パスワード|mot[ _]de[ _]passe|apikey|token|credentials?|secret"
    rf"|(?:secret|api|access|account|auth|private|encryption|signing|master|service|license"
    rf"|secret{_JOINT}access){_JOINT}key|connection{_JOINT}string)"
    r"|(?:\b|_)(?i:pass|pwd|psw|mdp|senha|haslo|parola|pin[_ ]?code)|[a-z](?:Pass|Pwd))"
)
ASSIGNMENT = (
    rf"{_NAMES}[0-9]?[\"'\])]{{0,2}}(?: (?i:is|was|es|ist|est|e))?[ \t]{{0,3}}"
    rf"(?::=|=>|==|[:=]|(?i:\bis)\b)[ \t]{{0,3}}(?:{_QUOTED}|({_VALUE}))"
    r"|(?i:bearer|basic)[ \t]+([A-Za-z0-9._~+/-]{16,}={0,2})"
    r"|(?i:-u|--user)[ =]\"?'?[A-Za-z0-9._-]+:([^ \t\"'\x1f]{6,})"
    r"|(?i:--password|--passwd|--token|-p)[ =]\"?'?([^ \t\"'\x1f-][^ \t\"'\x1f]{5,})"
    rf"|(?i:identified by)[ \t]+(?:{_QUOTED})"
)
ASSIGNMENT_GATE = (
    rf"{_NAMES}[0-9]?[\"'\])]{{0,2}}(?: (?i:is|was|es|ist|est|e))?[ \t]{{0,3}}(?:[:=]|is\b)"
    r"|(?i:bearer|basic)[ \t]+[A-Za-z0-9._~+/-]{8}|(?:-u|-p|--[a-z]{4,8})[ =]|(?i:identified by)"
)
NAMED_KEY = rf"{_NAMES}[0-9]?\x1f"

_AWS_ID = Pattern(AWS)
_AWS_SECRET = Pattern(AWS_SECRET)
# How far from the id of an access key its secret stands in a text: a line or two.
_BESIDE = 256

_PASSWORD_NAMES = re.compile(
    rb"(?i)pass(?:wor[dt]|wd|code|phrase)?|kennwort|contrasen|senha|mdp|wachtwoord|haslo|parola|pwd"
    rb"|psw|pin|-u|--user|identified|\xd0\xbf|\xe5\xaf|\xe3\x83"
)

# Keys that their vendors publish in documentation and test suites, and that everyone pastes.
_PUBLISHED = frozenset(
    (
        b"AKIAIOSFODNN7EXAMPLE",
        b"AKIAI44QH8DHBEXAMPLE",
        b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        b"je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        b"sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        b"sk_test_BQokikJOvBiI2HlWgH4olfQ2",
        b"sk_test_tR3PYbcVNZZ796tH88S4VQ2u",
        b"rk_test_4eC39HqLyjWDarjtT1zdp7dc",
        b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        b"C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==",
        b"110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
        b"123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11",
        b"4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qc",
        b"MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
        b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwia"
        b"WF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiY"
        b"WRtaW4iOnRydWUsImlhdCI6MTUxNjIzOTAyMn0.KMUFsIDTnFmyG3nMiGM6H9FNFUROf3wh7SmqJp-QV30",
        b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiY"
        b"WRtaW4iOnRydWV9.TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
        b"AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
        b"AIzaSyDdI0hCZtE6vySjMm-WEfRq3CPzqKqqsHI",
        b"AIzaSyAnLA7NfeLquW1tJFpx_eQCxoX-oo6YyIs",
        b"AIzaSyCkEhVjf3pduRDt6d1yKOMitrUEke8agEM",
        b"AIzaSyDMAScliyLx7F0NPDEJi1QmyCgHIAODrlU",
        b"AIzaSyD3asb-2pEZVqMkmL6M9N6nHZRR_znhrh0",
        b"AIzaSyAdOS2zB6NCsk1pCdZ4-P6GBdi_UUPwX7c",
        b"AIzaSyASWm6HmTMdYWpgMnjRBjxcQ9CKctWmLd4",
        b"AIzaSyANUvH9H9BsUccjsu2pCmEkOPjjaXeDQgY",
        b"AIzaSyA5_iVawFQ8ABuTZNUdcwERLJv_a_p4wtM",
        b"AIzaSyA4UrcGxgwQFTfaI3no3t7Lt1sjmdnP5sQ",
        b"AIzaSyDSb51JiIcB6OJpwwMicseKRhhrOq1cS7g",
        b"AIzaSyBF2RrAIm4a0mO64EShQfqfd2AFnzAvvuU",
        b"AIzaSyBcE-OOIbhjyR83gm4r2MFCu4MJmprNXsw",
        b"AIzaSyB8qGxt4ec15vitgn44duC5ucxaOi4FmqE",
        b"AIzaSyA8vmApnrHNFE0bApF4hoZ11srVL_n0nvY",
    )
)
_PLACEHOLDER = Pattern(
    r"(?i)example|sample|dummy|placeholder|change[_-]?me|changeit|replace|insert[_-]|your[_-]?"
    r"|redacted|\btodo\b|\bfixme\b|xxxx|\*\*\*|\.\.\.|not[_-]?a[_-]?real|\bfake|fake\b|masked"
    r"|hidden|removed|secret[_-]?here|lorem|test[_-]?key|my[_-](?:api|secret|token|password|key)"
    r"|goes[_-]?here|<[^>]*>|\$\{|\{\{|%\(|\$\("
)
# Typed by running a finger along the keyboard. A vendor's prefix before it says that it is meant
# as a key all the same.
_SEQUENCE = re.compile(
    rb"(?i)0000000|1234567890abcdef|abcdefghij|0123456789|foobar|deadbeef|aaaaaa"
)
_ENDS_AS_SAMPLE = re.compile(rb"(?i)example(?:key)?$")
_COMMON_WORDS = frozenset(
    b"password passwd secret changeme pass pwd user admin root test token none null true false nil"
    b" undefined required optional string number boolean integer default empty unset missing"
    b" disabled enabled unknown invalid expired incorrect wrong reset hunter".split()
)
_CODE = Pattern(
    r"(?:[$%{(<\[@*&:]|os\.|env\.|process\.|self\.|this\.|config\.|settings\.|getenv|request\.|req\."
    r"|args\.|https?:|/[a-z]|\./|file:|vault:|ref[:+]|arn:|secret[s]?[./]|var\.|local\.|data\."
    r"|new |[A-Za-z_.][A-Za-z0-9_.]*\(|[A-Za-z_]+\[)"
)
_PORT_AND_PATH = re.compile(rb"[0-9]{1,5}[/?#,;]")
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?[/?#,;&|]")
_UUID = re.compile(rb"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE_OR_TIME = Pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ].*)?|[0-9]{1,2}:[0-9]{2}.*")
_WORDS = Pattern(r"[A-Za-z]+(?:[-_.'][A-Za-z]+)*")
_NAME_OF_A_THING = Pattern(r"[a-z]+(?:[-_.:/][a-z0-9]{1,12})+")
_HEAD = Pattern(PRIVATE_KEY)
_ARMOUR = Pattern(rf"-{{4,5}}{_BLANK}?(?:BEGIN|END){_BLANK}|PuTTY-User-Key-File-[23]:|Private-MAC:")
_FOOTER = Pattern(
    rf"-{{4,5}}{_BLANK}?END{_BLANK}(?:[A-Z0-9]|{_BLANK}){{0,64}}-{{4,5}}"
    r"|Private-MAC: ?[0-9a-f]{0,64}"
)
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{12}")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{40}")


def entropy(value: bytes) -> float:
    """Return the Shannon entropy of ``value`` in bits a byte."""
    size = len(value)
    return -sum(n / size * log2(n / size) for n in Counter(value).values())


def published(value: bytes) -> bool:
    """Tell whether ``value`` is a sample from documentation or a placeholder, not a secret."""
    return value in _PUBLISHED or _ENDS_AS_SAMPLE.search(value) is not None


def placeholder(value: bytes) -> bool:
    """Tell whether ``value`` stands in for a secret rather than being one."""
    return published(value) or _PLACEHOLDER.occurs(value, 0, len(value))


def _code(value: bytes) -> bool:
    """Tell whether ``value`` begins as code or a reference does: it says where the secret is."""
    return _CODE.begins(value, 0, len(value)) is not None


def typed(value: bytes) -> bool:
    """Tell whether ``value`` is a placeholder or a sequence, such as anyone types to fill in."""
    return placeholder(value) or _SEQUENCE.search(value) is not None


def private_key(doc: Document, start: int, end: int) -> Hit | None:
    """Judge the first line of a private key; the finding reaches to its last line.

    Of a key that is cut off, nobody knows which that is, whatever its lines begin with: it reaches
    to the next key or to the end of the text. No more is looked at, so that many first lines cost
    no more than one.
    """
    raw = doc.raw
    last = doc.bounds(doc.index_at(start))[1]
    mark = _ARMOUR.find(raw, end, last)
    stop = mark[0] if mark else last
    footer = _FOOTER.begins(raw, stop, last)
    body = raw[end : stop if footer else min(end + 400, last)]
    if not _BASE64_RUN.search(body.replace(b"\\n", b"\n").replace(b"\\r", b"\n")):
        lines = _list_of_lines(doc, start, end)
        return (start, end, Confidence.HIGH) if lines is not None else None
    return start, footer or stop, Confidence.HIGH


def _list_of_lines(doc: Document, start: int, end: int) -> int | None:
    """Return the list whose items are the lines of a key, if its first line is one, or None."""
    index, fields = doc.index_at(start), doc.fields
    if index + 1 >= len(fields.texts) or doc.bounds(index)[1] != end:
        return None
    owner, token = fields.places[index]
    below = range(index + 1, min(index + 5, len(fields.texts)))
    if isinstance(token, int) and any(
        fields.places[each][0] == owner and _BASE64_LINE.match(doc.raw, doc.bounds(each)[0])
        for each in below
    ):
        return owner
    return None


def lines_beside(doc: Document, found: list[tuple[int, int]], refused: bool) -> list[int]:
    """Return the numbers of the texts that are the lines of private keys in lists."""
    heads = [each for each in found if _HEAD.begins(doc.raw, *each) == each[1]]
    lists = {_list_of_lines(doc, *each) for each in heads} - {None}
    if not lists:
        return []
    return [index for index, (owner, _) in enumerate(doc.fields.places) if owner in lists]


def jwt(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a JSON web token: its header decodes to JSON that names an algorithm."""
    raw = doc.raw
    value = raw[start:end]
    if not clear_before(raw, start) or published(value):
        return None
    header = value.split(b".", 1)[0]
    try:
        decoded = json.loads(urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict) or not ("alg" in decoded or "typ" in decoded):
        return None
    return start, end, Confidence.HIGH


def vendor(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a key whose prefix names its vendor: not a sample, and not too regular."""
    raw = doc.raw
    value = raw[start:end]
    if raw[start - 1] in ALPHANUMERIC and not clear_before(raw, start):
        return None
    if placeholder(value) or entropy(value[-24:]) < 2.8:
        return None
    return start, end, Confidence.MEDIUM


def exact(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a vendor key of fixed length: as `vendor`, and nothing may follow directly."""
    if doc.raw[end] in ALPHANUMERIC or doc.raw[end] == 0x5F:
        return None
    return vendor(doc, start, end)


def assigned(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a part of a connection string or URL that only holds keys."""
    value = doc.raw[start:end]
    if typed(value) or entropy(value) < 3.5:
        return None
    return start, end, Confidence.MEDIUM


def aws_secret(doc: Document, start: int, end: int) -> Hit | None:
    """Judge forty base64 characters near words that name AWS, or beside the id of an access key: in
    the same text, or in the same object or list."""
    if not _like_aws_secret(doc.raw, start, end):
        return None
    numbered = any(byte in DIGITS for byte in doc.raw[start:end])
    named = numbered and doc.near(context.AWS, start, end)
    if not named and not _beside_aws_id(doc, start, end):
        return None
    return start, end, Confidence.MEDIUM


def _like_aws_secret(raw: bytes, start: int, end: int) -> bool:
    value = raw[start:end]
    if raw[end] in ALPHANUMERIC or raw[start - 1] in ALPHANUMERIC or raw[end] in b"/+=":
        return False
    return (
        entropy(value) >= 4.0 and not typed(value) and any(0x41 <= byte <= 0x5A for byte in value)
    )


def _beside_aws_id(doc: Document, start: int, end: int) -> bool:
    index = doc.index_at(start)
    first, last = doc.bounds(index)
    if _AWS_ID.occurs(doc.raw, max(first, start - _BESIDE), min(last, end + _BESIDE)):
        return True
    fields = doc.fields
    owners = doc.containers_with(_AWS_ID)
    return index < len(fields.texts) and fields.places[index][0] in owners


def secrets_beside(doc: Document, found: list[tuple[int, int]], refused: bool) -> list[int]:
    """Return the numbers of the texts that may hold the secret of a key whose id was found: of a
    refused submission, wherever they stand."""
    if not refused:
        return []
    spans = [(first, last) for first, last, _ in every(_AWS_SECRET, doc.raw)]
    return [doc.index_at(first) for first, last in spans if _like_aws_secret(doc.raw, first, last)]


def twilio_token(doc: Document, start: int, end: int) -> Hit | None:
    """Judge thirty-two hex digits near the word Twilio."""
    raw = doc.raw
    if raw[end] in ALPHANUMERIC or raw[start - 1] in ALPHANUMERIC:
        return None
    if entropy(raw[start:end]) < 3.0 or not doc.near(context.TWILIO, start, end):
        return None
    return start, end, Confidence.LOW


def telegram(doc: Document, start: int, end: int) -> Hit | None:
    """Judge the token of a Telegram bot."""
    raw = doc.raw
    value = raw[start:end]
    if raw[end] in ALPHANUMERIC or raw[end] in b"_-":
        return None
    if raw[start - 1] in ALPHANUMERIC and not word_before(raw, start).endswith(b"bot"):
        return None
    if published(value) or entropy(value[-35:]) < 3.5:
        return None
    return start, end, Confidence.MEDIUM


def url_credentials(doc: Document, start: int, end: int) -> Hit | None:
    """Judge the password of ``scheme://user:password@host``.

    The candidate reaches to the last "@". Judged is what comes before the first "@" with a host
    after it; found is all of it, since nobody knows which "@" was meant.
    """
    raw = doc.raw
    value = raw[start:end]
    authority = raw.rfind(b"//", max(0, start - 64), start)
    if raw[authority + 2] == 0x5B or _PORT_AND_PATH.match(value):
        return None  # host:port/path and an "@" further on
    at = value.find(b"@", 2)
    while at >= 0 and not _HOST.match(value, at + 1):
        at = value.find(b"@", at + 1)
    judged = value[:at] if at >= 0 else value
    if typed(judged) or _code(judged) or judged.lower() in _COMMON_WORDS:
        return None
    return start, end, Confidence.MEDIUM


def assignment(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a value that is given to a name such as ``password`` or ``api_key``."""
    raw = doc.raw
    first = max(raw.rfind(b"\x1f", max(0, start - 32), start) + 1, start - 32)
    name = raw[first:start]
    while end > start and raw[end - 1] in b".,;:!?)]}\\":
        end -= 1
    strength = judge_secret(raw[start:end], _PASSWORD_NAMES.search(name) is not None)
    return (start, end, strength) if strength is not None else None


def rest_of_value(doc: Document, start: int, end: int) -> list[tuple[int, int]]:
    """Return what stands between the part of a value that was judged and its end: a password may
    hold what else ends one."""
    stop = doc.value_end(end)
    return [(end, stop)] if stop > end else []


def keyed(doc: Document, start: int, end: int) -> Hit | None:
    """Judge the value under a key such as ``password`` or ``api_key``."""
    index = doc.index_at(start)
    fields = doc.fields
    if index + 1 >= len(fields.texts) or not fields.is_key[index] or fields.is_key[index + 1]:
        return None
    if fields.places[index] != fields.places[index + 1]:
        return None  # the key of an object or a list
    first, last = doc.bounds(index + 1)
    if last - first > 512:
        return None
    name = doc.raw[start:end]
    strength = judge_secret(doc.raw[first:last], _PASSWORD_NAMES.search(name) is not None)
    return (first, last, strength) if strength is not None else None


def judge_secret(value: bytes, password: bool) -> Confidence | None:
    """Tell how much ``value`` looks like a password, or like a key where not ``password``."""
    if len(value) < 6 or typed(value) or _code(value):
        return None
    if _DATE_OR_TIME.fills(value) or value.lower() in _COMMON_WORDS:
        return None
    digits = sum(byte in DIGITS for byte in value)
    letters = sum(byte in LETTERS for byte in value)
    others = len(value) - digits - letters
    bits = entropy(value)
    if password:
        if b" " in value and (len(value) > 64 or not digits):
            return None
        mixed = (
            bool(digits)
            + bool(others - value.count(b" "))
            + any(0x61 <= b <= 0x7A for b in value)
            + any(0x41 <= b <= 0x5A for b in value[1:])
        )
        if bits < 2.2 or (mixed < 2 and digits != len(value)):
            return None
        if not digits and _WORDS.fills(value):
            return None
        return Confidence.MEDIUM if bits >= 3 else Confidence.LOW
    if len(value) < 12 or b" " in value or not digits or bits < 3.0:
        return None
    if digits < 6 and _NAME_OF_A_THING.fills(value):
        return None  # names of things
    if digits + value.count(b".") + value.count(b"-") == len(value):
        return None  # numbers, versions
    if _UUID.fullmatch(value):
        return Confidence.LOW
    return Confidence.MEDIUM if bits >= 3.3 else Confidence.LOW
