"""Private keys in text: PEM, OpenPGP and PuTTY."""

from __future__ import annotations

import re

from detection.detector import MANY, Detector, Hit, Rule
from detection.document import Document
from detection.engine import Pattern
from detection.findings import Confidence, Kind

_BLANK = r"(?: |%20|\+)"  # or what form encoding makes of it
_FIRST_LINE = (
    rf"-{{4,5}}{_BLANK}?BEGIN{_BLANK}(?:[A-Z0-9]+{_BLANK}){{0,3}}PRIVATE{_BLANK}KEY"
    rf"(?:{_BLANK}BLOCK)?{_BLANK}?-{{4,5}}|PuTTY-User-Key-File-[23]:"
)

_HEAD = Pattern(_FIRST_LINE)
_ARMOUR = Pattern(rf"-{{4,5}}{_BLANK}?(?:BEGIN|END){_BLANK}|PuTTY-User-Key-File-[23]:|Private-MAC:")
_FOOTER = Pattern(
    rf"-{{4,5}}{_BLANK}?END{_BLANK}(?:[A-Z0-9]|{_BLANK}){{0,64}}-{{4,5}}"
    r"|Private-MAC: ?[0-9a-f]{0,64}"
)
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{12}")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{40}")


def check(doc: Document, start: int, end: int) -> Hit | None:
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
        return Hit(start, end, Confidence.HIGH) if lines is not None else None
    return Hit(start, footer or stop, Confidence.HIGH)


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


DETECTOR = Detector(
    "private_key",
    Kind.SECRET,
    (Rule(_FIRST_LINE, check, prefilter=rf"PRIVATE{_BLANK}KEY|PuTTY-User", max_refused=MANY),),
    texts_beside=lines_beside,
    hits=(
        "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n",
        "-----BEGIN PRIVATE KEY-----\\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    ),
    misses=(
        "We look for -----BEGIN RSA PRIVATE KEY----- headers",
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQ",
    ),
)
