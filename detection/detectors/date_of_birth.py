"""Dates of birth, by the words round them."""

from __future__ import annotations

import re

from detection.detector import Detector, Hit, Rule
from detection.document import Document
from detection.edges import DIGITS, LETTERS
from detection.findings import Confidence, Kind
from detection.normalize import fold
from detection.words import Words

BIRTH_WORDS = Words(
    "dob", "d o b", "birth", "birthdate", "birthday", "birth date", "born", "date of birth",
    "dateofbirth", "geburtsdatum", "geburtstag", "geboren", "geb", "geb am", "naissance", "ne le",
    "nee le", "nacimiento", "nacido", "nacida", "fecha nac", "fecha de nac", "nascita", "nato il",
    "nata il", "nascimento", "nascido", "nascida", "geboortedatum", "fodselsdato", "fodd",
    "fodelsedatum", "syntymaaika", "urodzenia", "urodzony", "urodzona", "dogum tarihi",
    "生年月日", "出生", "生日", "誕生日", "생년월일", "рождения", "родился", "родилась",
)  # fmt: skip

_MONTHS = (
    r"(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez|ene|abr|ago|set|dic|gen|"
    r"mag|giu|lug|ott|janv|fev|avr|juin|juil|aout|out|maj|mei|kwi|lip|paz|gru|lut|cze|sie|wrz|lis|"
    r"янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек)"
)
_LETTER = r"[a-zа-я]"
_YEAR = "(?:19[0-9]|20[0-2])[0-9]"
_MONTH = rf"{_MONTHS}{_LETTER}{{0,9}}"
_PATTERN = fold(
    rf"\b(?:{_YEAR}[./-][0-9]{{1,2}}[./-][0-9]{{1,2}}"
    rf"|[0-9]{{1,2}}[./-][0-9]{{1,2}}[./-](?:{_YEAR}|[0-9]{{2}})"
    rf"|[0-9]{{1,2}}\. ?[0-9]{{1,2}}\. ?{_YEAR}"
    rf"|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?i:[0-9]{1,2}(?:st|nd|rd|th|er|º|o)?\.?(?: de| of)?[ -]"
    rf"{_MONTH}[.,]?(?: de| del| do)?[ -]{_YEAR})"
    rf"|(?i:{_MONTH}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? {_YEAR})"
    rf"|(?i:{_YEAR}[ -]{_MONTH}[ -][0-9]{{1,2}})"
    rf"|{_YEAR} ?年 ?[0-9]{{1,2}} ?月 ?[0-9]{{1,2}}"
    rf"|{_YEAR} ?년 ?[0-9]{{1,2}} ?월 ?[0-9]{{1,2}})"
)
_NUMBER = re.compile(rb"[0-9]+")


def check(doc: Document, start: int, end: int) -> Hit | None:
    """Judge a date by the words round it: a possible day of a living person's birth."""
    raw = doc.raw
    if raw[end] in DIGITS or (raw[end] in LETTERS and raw[end] not in b"T"):
        return None
    if not _is_a_day(raw[start:end]) or not doc.near(BIRTH_WORDS, start, end):
        return None
    return Hit(start, end, Confidence.LOW)


def _is_a_day(text: bytes) -> bool:
    """Tell whether the numbers of a date can be a day, a month and a year."""
    numbers = [int(n) for n in _NUMBER.findall(text)]
    if len(numbers) == 1:
        return True  # yyyymmdd, held to by the pattern
    return sum(n > 31 for n in numbers) <= 1 and 0 not in numbers[:2]


DETECTOR = Detector(
    "date_of_birth",
    Kind.PII,
    (Rule(_PATTERN, check, prefilter=BIRTH_WORDS.source),),
    words=(BIRTH_WORDS,),
    hits=("DOB: 05/21/1990", "fecha de nacimiento: 21 de mayo de 1990", "生年月日：1990年5月21日"),
    misses=("the meeting is on 05/21/1990", "born to be wild", "DOB: 45/33/1990"),
)
