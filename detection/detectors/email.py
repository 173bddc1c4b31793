"""E-mail addresses."""

from __future__ import annotations

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import ALPHANUMERIC, DIGITS
from detection.engine import Pattern
from detection.findings import Confidence, Kind

_ATEXT = r"[A-Za-z0-9_.%+'~!#$&*=?^{}|/-]"
_LABEL = r"(?:[A-Za-z0-9_-]|[^\x00-\x7f])"
_WRITTEN = (
    rf"(?:[A-Za-z0-9_]{_ATEXT}*|[^\x00-\x7f]+|\"[^\"\x1f]{{1,64}}\")(?:@|%40|&#64;|\\u0040)"
    rf"(?:{_LABEL}+\.)+(?:[A-Za-z]{{2,24}}|xn--[A-Za-z0-9-]{{2,30}}|[^\x00-\x7f]{{2,24}})"
)
_SPELLED = (
    r"[A-Za-z0-9_][A-Za-z0-9_.+-]* ?[\[({<] ?(?i:at) ?[\])}>] ?[A-Za-z0-9-]+"
    r"(?: ?(?:\.|[\[({<] ?(?i:dot) ?[\])}>]) ?[A-Za-z0-9-]+)*"
    r" ?(?:\.|[\[({<] ?(?i:dot) ?[\])}>]) ?[A-Za-z]{2,24}"
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
_PASSWORD_BEFORE = Pattern(
    r"://[^ \t\r\n\x1f\"'<>/?#@:\[]*:(?:[^ \t\r\n\x1f\"'<>0-9/]"
    r"|[0-9]+[^ \t\r\n\x1f\"'<>0-9/?#,;]|$)[^ \t\r\n\x1f\"'<>]*$"
)
_PUNCTUATION = bytes(set(range(0x80)) - ALPHANUMERIC - set(b'_"'))


def written(doc: Document, start: int, end: int) -> Hit | None:
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
    return Hit(start, end, Confidence.MEDIUM)


def spelled(doc: Document, start: int, end: int) -> Hit | None:
    """Judge an address written with a bracketed "at"."""
    return Hit(start, end, Confidence.MEDIUM)


def _in_password(raw: bytes, start: int) -> bool:
    """Tell whether ``user:`` of a URL stands before: the value is of a password and a host."""
    before = raw[max(0, start - 128) : start]
    return b"://" in before and _PASSWORD_BEFORE.occurs(before, 0, len(before))


DETECTOR = Detector(
    "email",
    Kind.PII,
    (
        Rule(_WRITTEN, written, prefilter="@|%40|&#64;|u0040"),
        Rule(_SPELLED, spelled, prefilter=r"[\[({<] ?(?i:at) ?[\])}>]"),
    ),
    hits=("bob.smith+tag@mail.example.co.uk", "bob%40example.com", "bob [at] example [dot] com"),
    misses=("icon@2x.png", "git@github.com:org/repo.git", "user@localhost", "foo@bar.call(1)"),
)
