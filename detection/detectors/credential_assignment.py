"""Passwords and keys by the names they are given to: ``password=``, ``"api_key": ...``."""

from __future__ import annotations

import re

from detection.detector import MANY, Detector, Hit, Rule
from detection.document import Document
from detection.edges import DIGITS, LETTERS
from detection.engine import Pattern
from detection.findings import Confidence, Kind
from detection.normalize import fold
from detection.secret_values import COMMON_WORDS, entropy, is_reference, made_up

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
_ASSIGNMENT = (
    rf"{_NAMES}[0-9]?[\"'\])]{{0,2}}(?: (?i:is|was|es|ist|est|e))?[ \t]{{0,3}}"
    rf"(?::=|=>|==|[:=]|(?i:\bis)\b)[ \t]{{0,3}}(?:{_QUOTED}|({_VALUE}))"
    r"|(?i:bearer|basic)[ \t]+([A-Za-z0-9._~+/-]{16,}={0,2})"
    r"|(?i:-u|--user)[ =]\"?'?[A-Za-z0-9._-]+:([^ \t\"'\x1f]{6,})"
    r"|(?i:--password|--passwd|--token|-p)[ =]\"?'?([^ \t\"'\x1f-][^ \t\"'\x1f]{5,})"
    rf"|(?i:identified by)[ \t]+(?:{_QUOTED})"
)
_PREFILTER = (
    rf"{_NAMES}[0-9]?[\"'\])]{{0,2}}(?: (?i:is|was|es|ist|est|e))?[ \t]{{0,3}}(?:[:=]|(?i:is)\b)"
    r"|(?i:bearer|basic)[ \t]+[A-Za-z0-9._~+/-]{8}|(?i:-u|-p|--[a-z]{4,8})[ =]|(?i:identified by)"
)
_NAMED_KEY = rf"{_NAMES}[0-9]?\x1f"

_PASSWORD_NAMES = re.compile(
    rb"(?i)pass(?:wor[dt]|wd|code|phrase)?|kennwort|contrasen|senha|mdp|wachtwoord|haslo|parola|pwd"
    rb"|psw|pin|-u|--user|identified|\xd0\xbf|\xe5\xaf|\xe3\x83"
)
_UUID = re.compile(rb"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE_OR_TIME = Pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ].*)?|[0-9]{1,2}:[0-9]{2}.*")
_WORDS = Pattern(r"[A-Za-z]+(?:[-_.'][A-Za-z]+)*")
_NAME_OF_A_THING = Pattern(r"[a-z]+(?:[-_.:/][a-z0-9]{1,12})+")


def assigned(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a value that is given to a name such as ``password`` or ``api_key``."""
    raw = doc.raw
    first = max(raw.rfind(b"\x1f", max(0, start - 32), start) + 1, start - 32)
    name = raw[first:start]
    while end > start and raw[end - 1] in b".,;:!?)]}\\":
        end -= 1
    strength = judge_secret(raw[start:end], _PASSWORD_NAMES.search(name) is not None)
    return Hit(start, end, strength) if strength is not None else None


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
    return Hit(first, last, strength) if strength is not None else None


def judge_secret(value: bytes, password: bool) -> Confidence | None:
    """Tell how much ``value`` looks like a password, or like a key where not ``password``."""
    if len(value) < 6 or made_up(value) or is_reference(value):
        return None
    if _DATE_OR_TIME.fills(value) or value.lower() in COMMON_WORDS:
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


DETECTOR = Detector(
    "credential_assignment",
    Kind.SECRET,
    (
        Rule(_ASSIGNMENT, assigned, prefilter=_PREFILTER, max_refused=MANY),
        Rule(_NAMED_KEY, keyed, prefilter=_NAMED_KEY, max_refused=MANY),
    ),
    spans_beside=rest_of_value,
    hits=("password=Tr0ub4dor&3", "Authorization: Bearer " + "8sJ2kf93LsmQ0x7vTzR4wY1n"),
    misses=("password: required", "password=${DB_PASSWORD}", "max_tokens=2048"),
)
