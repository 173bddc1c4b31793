"""Values that must be found, made with valid checksums, in many notations and surroundings."""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import Callable, Iterator
from random import Random

from stdnum import iban as stdnum_iban
from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from tests.scorecard.case import Case

ALPHANUMERIC = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits

PLAIN = (
    "{}",
    "Please note {} for our records.",
    "x={};",
    '{{"value": "{}", "ok": true}}',
    "17,{},north,2024-05-01",
    "2024-05-01T10:22:31Z INFO worker[314] got {} from queue",
    "<item>{}</item>",
    "({})",
    "first line\n{}\nlast line",
    "Он прислал {} вчера",
    "我收到了{}。",
    "| {} | paid |",
    "Bitte {} weiterleiten, danke!",
    "¿Puedes comprobar {}?",
)
"""Surroundings that say nothing about what they hold."""


def some(chance: Random, alphabet: str, size: int) -> str:
    return "".join(chance.choice(alphabet) for _ in range(size))


def digits(chance: Random, size: int) -> str:
    return some(chance, string.digits, size)


def disguise(chance: Random, text: str) -> str:
    """Write ``text`` as someone would who knows that a machine reads it."""
    trick = chance.randrange(6)
    if trick == 0:
        return "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text)
    if trick == 1:
        return chance.choice(("\u200b", "\u00ad", "\u2060", "\ufeff")).join(text)
    if trick == 2:
        return text.replace(" ", "\u00a0").replace("-", chance.choice("‐‑–—−"))
    if trick == 3:
        return "".join(chr(0x0660 + int(c)) if c.isdigit() else c for c in text)
    if trick == 4:
        return "".join(chr(0x1D7CE + int(c)) if c.isdigit() else c for c in text)
    place = chance.randrange(1, len(text))
    return text[:place] + "\u200d" + text[place:]


def card(chance: Random) -> str:
    prefix, size = chance.choice(
        (
            ("4", 16), ("4", 16), ("4", 13), ("4", 19), ("51", 16), ("55", 16), ("2221", 16),
            ("2720", 16), ("34", 15), ("37", 15), ("36", 14), ("305", 14), ("6011", 16),
            ("65", 16), ("3528", 16), ("3589", 16), ("62", 16), ("62", 19), ("6759", 16),
            ("5018", 18), ("2200", 16), ("6763", 13),
        )
    )  # fmt: skip
    body = prefix + digits(chance, size - len(prefix) - 1)
    return body + luhn.calc_check_digit(body)


def written_card(chance: Random) -> str:
    number = card(chance)
    if chance.random() < 0.3:
        return number
    sizes = [4, 6, 5] if len(number) == 15 else [4, 6, 4] if len(number) == 14 else [4] * 5
    joint = chance.choice((" ", "-", " ", "-", ".", "  ", " - ", "_", "/", "\t", "mixed"))
    groups, place = [], 0
    for size in sizes:
        if place < len(number):
            groups.append(number[place : place + size])
            place += size
    if joint == "mixed":
        return "".join(g + chance.choice(" -") for g in groups)[:-1]
    return joint.join(groups)


_IBANS = {
    "DE": "n" * 18, "GB": "a" * 4 + "n" * 14, "FR": "n" * 10 + "c" * 11 + "n" * 2,
    "ES": "n" * 20, "IT": "a" + "n" * 10 + "c" * 12, "NL": "aaaa" + "n" * 10, "BE": "n" * 12,
    "CH": "n" * 5 + "c" * 12, "AT": "n" * 16, "PL": "n" * 24, "SE": "n" * 20, "NO": "n" * 11,
    "DK": "n" * 14, "FI": "n" * 14, "PT": "n" * 21, "IE": "aaaa" + "n" * 14, "CZ": "n" * 20,
    "HU": "n" * 24, "RO": "aaaa" + "c" * 16, "GR": "n" * 7 + "c" * 16, "TR": "n" * 6 + "c" * 16,
    "SA": "nn" + "c" * 18, "AE": "n" * 19, "BR": "n" * 23 + "ac", "MT": "aaaannnnn" + "c" * 18,
    "LU": "nnn" + "c" * 13, "EE": "n" * 16, "LT": "n" * 16, "LV": "aaaa" + "c" * 13,
    "UA": "n" * 6 + "c" * 19, "KZ": "nnn" + "c" * 13, "QA": "aaaa" + "c" * 21,
}  # fmt: skip


def iban(chance: Random) -> str:
    while True:
        country, shape = chance.choice(sorted(_IBANS.items()))
        classes = {"n": string.digits, "a": string.ascii_uppercase, "c": UPPER}
        body = "".join(chance.choice(classes[kind]) for kind in shape)
        number = country + mod_97_10.calc_check_digits(body + country) + body
        if stdnum_iban.is_valid(number, check_country=False):
            return number


def written_iban(chance: Random) -> str:
    number = iban(chance)
    style = chance.randrange(5)
    if style == 0:
        return number
    if style == 1:
        return number.lower()
    joint = " " if style in (2, 3) else "-"
    return joint.join(number[n : n + 4] for n in range(0, len(number), 4))


def ssn(chance: Random) -> tuple[str, str, str]:
    while True:
        area, group, serial = digits(chance, 3), digits(chance, 2), digits(chance, 4)
        if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000":
            continue
        if area + group + serial not in ("078051120", "219099999", "457555462"):
            return area, group, serial


def email(chance: Random) -> str:
    first = chance.choice(
        ("anna", "li.wei", "bob_smith", "m.o'neill", "j-p", "x99", "INFO", "sara+news")
    )
    host = chance.choice(
        ("mail", "example", "firma", "uni-koeln", "corp.eu", "a.b", "xn--bcher-kva")
    )
    top = chance.choice(
        ("com", "org", "de", "co.uk", "io", "museum", "com.br", "jp", "dev", "info")
    )
    return f"{first}{chance.randrange(100)}@{host}.{top}"


def public_ipv4(chance: Random) -> str:
    while True:
        a, b = chance.randrange(1, 224), chance.randrange(256)
        private = a in (10, 127) or (a, b) in ((192, 168), (169, 254))
        if private or (a == 172 and 16 <= b < 32) or (a == 100 and 64 <= b < 128):
            continue
        return f"{a}.{b}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


def ipv6(chance: Random) -> str:
    pieces = [f"{chance.randrange(0x2000, 0x4000):x}"] + [some(chance, HEX, 4) for _ in range(7)]
    style = chance.randrange(3)
    if style == 0:
        return ":".join(pieces)
    if style == 1:
        return ":".join(p.lstrip("0") or "0" for p in pieces).upper()
    keep = chance.randrange(1, 5)
    return ":".join(pieces[:keep]) + "::" + ":".join(pieces[-chance.randrange(1, 3) :])


def phone(chance: Random) -> str:
    d = chance.randrange
    area, exchange, line = d(201, 990), d(200, 1000), digits(chance, 4)
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"+1{area}{exchange}{line}",
        lambda: f"+1 ({area}) {exchange}-{line}",
        lambda: f"+1-{area}-{exchange}-{line}",
        lambda: f"({area}) {exchange}-{line}",
        lambda: f"{area}-{exchange}-{line}",
        lambda: f"{area}.{exchange}.{line}",
        lambda: f"1-{area}-{exchange}-{line}",
        lambda: f"+44 20 {d(3000, 9000)} {line}",
        lambda: f"+44 7{d(100, 1000)} {d(100, 1000)}{d(100, 1000)}",
        lambda: f"020 {d(3000, 9000)} {line}",
        lambda: f"07{d(100, 1000)} {d(100, 1000)}{d(100, 1000)}",
        lambda: f"+33 6 {d(10, 100)} {d(10, 100)} {d(10, 100)} {d(10, 100)}",
        lambda: f"0{d(1, 7)} {d(10, 100)} {d(10, 100)} {d(10, 100)} {d(10, 100)}",
        lambda: f"+49 {d(151, 180)} {d(1_000_000, 10_000_000)}",
        lambda: f"0{d(151, 180)}/{d(1_000_000, 10_000_000)}",
        lambda: f"0{d(30, 90)} {d(100_000, 100_000_000)}",
        lambda: f"+34 6{d(10, 100)} {d(100, 1000)} {d(100, 1000)}",
        lambda: f"+39 3{d(10, 100)} {d(1_000_000, 10_000_000)}",
        lambda: f"+91 {d(70_000, 100_000)} {d(10_000, 100_000)}",
        lambda: f"+86 1{d(30, 100)} {d(1000, 10_000)} {line}",
        lambda: f"1{d(30, 100)} {d(1000, 10_000)} {line}",
        lambda: f"+81 90-{d(1000, 10_000)}-{line}",
        lambda: f"090-{d(1000, 10_000)}-{line}",
        lambda: f"010-{d(1000, 10_000)}-{line}",
        lambda: f"+55 11 9{d(1000, 10_000)}-{line}",
        lambda: f"(11) 9{d(1000, 10_000)}-{line}",
        lambda: f"+61 4{d(10, 100)} {d(100, 1000)} {d(100, 1000)}",
        lambda: f"04{d(10, 100)} {d(100, 1000)} {d(100, 1000)}",
        lambda: f"+7 9{d(10, 100)} {d(100, 1000)}-{d(10, 100)}-{d(10, 100)}",
        lambda: f"+358 40 {d(100_000, 10_000_000)}",
        lambda: f"+48 {d(500, 900)} {d(100, 1000)} {d(100, 1000)}",
        lambda: f"+971 5{d(0, 9)} {d(100, 1000)} {line}",
        lambda: f"6{d(10, 100)} {d(100, 1000)} {d(100, 1000)}",  # Spain: needs a word, has none
        lambda: f"0044 20 {d(3000, 9000)} {line}",
    )
    return chance.choice(forms)()


PHONE_WORDS = (
    "phone: {}", "call me at {}", "Tel. {}", "mobile {}", "my cell is {}", "teléfono: {}",
    "Telefonnummer {}", "portable : {}", "cellulare {}", "celular {}", "手机{}", "電話番号：{}",
    "телефон {}", "tel: {}", "text me on {}", "fax {}", "{} is my phone number", "telefoon {}",
)  # fmt: skip
SSN_WORDS = (
    "SSN: {}", "my ssn is {}", "social security number {}", "Social Security No. {}", "ssn={}",
    "soc sec {}", "número de seguro social: {}", "{} (SSN)",
)  # fmt: skip
PASSPORT_WORDS = (
    "passport number {}", "Passport No: {}", "passeport n° {}", "Reisepassnummer {}",
    "pasaporte {}", "passaporto {}", "护照号码：{}", "паспорт {}", "paspoort {}",
)  # fmt: skip
LICENCE_WORDS = (
    "driver's license {}", "driving licence number {}", "Drivers License: {}", "DL# {}",
    "Führerschein {}", "permis de conduire {}", "licencia de conducir {}", "patente di guida {}",
)  # fmt: skip
BIRTH_WORDS = (
    "DOB: {}", "date of birth {}", "born on {}", "geboren am {}", "né le {}",
    "fecha de nacimiento: {}", "data di nascita {}", "生年月日 {}", "дата рождения {}",
    "birthday: {}", "geboortedatum {}", "data de nascimento {}",
)  # fmt: skip
ROUTING_WORDS = ("routing number {}", "ABA {}", "RTN: {}", "bank routing {}", "ABA routing no. {}")


def birth_date(chance: Random) -> str:
    year, month, day = (
        chance.randrange(1930, 2012),
        chance.randrange(1, 13),
        chance.randrange(1, 29),
    )
    name = ("January", "Feb", "March", "April", "May", "June", "July", "Aug", "September", "Oct",
            "November", "December")[month - 1]  # fmt: skip
    return chance.choice(
        (
            f"{year}-{month:02}-{day:02}",
            f"{month:02}/{day:02}/{year}",
            f"{day:02}.{month:02}.{year}",
            f"{day}/{month}/{year}",
            f"{name} {day}, {year}",
            f"{day} {name} {year}",
            f"{year}/{month:02}/{day:02}",
            f"{year}{month:02}{day:02}",
        )
    )  # fmt: skip


def routing(chance: Random) -> str:
    while True:
        body = f"{chance.choice([*range(1, 13), *range(21, 33), *range(61, 73)]):02}" + digits(
            chance, 6
        )
        weights = (3, 7, 1, 3, 7, 1, 3, 7)
        check = -sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 10
        return body + str(check)


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def base58_address(chance: Random) -> str:
    payload = bytes([chance.choice((0, 5, 48, 30))]) + chance.randbytes(20)
    payload += hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(payload, "big"), ""
    while number:
        number, value = divmod(number, 58)
        text = _BASE58[value] + text
    return "1" * (len(payload) - len(payload.lstrip(b"\0"))) + text


def segwit_address(chance: Random) -> str:
    values = [chance.randrange(32) for _ in range(32)]
    version = 0

    def polymod(data: list[int]) -> int:
        total = 1
        for value in data:
            top, total = total >> 25, (total & 0x1FFFFFF) << 5 ^ value
            for bit, generator in enumerate(
                (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
            ):
                total ^= generator if top >> bit & 1 else 0
        return total

    expanded = [ord(c) >> 5 for c in "bc"] + [0] + [ord(c) & 31 for c in "bc"]
    check = polymod([*expanded, version, *values, *[0] * 6]) ^ 1
    data = [version, *values, *[check >> 5 * (5 - n) & 31 for n in range(6)]]
    return "bc1" + "".join(_BECH32[value] for value in data)


def token(chance: Random, *parts: str | int) -> str:
    return "".join(p if isinstance(p, str) else some(chance, ALPHANUMERIC, p) for p in parts)


def segment(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


SECRETS: dict[str, tuple[Callable[[Random], str], ...]] = {
    "private_key": (
        lambda r: (
            f"-----BEGIN RSA PRIVATE KEY-----\n{token(r, 64)}\n{token(r, 64)}\n"
            "-----END RSA PRIVATE KEY-----"
        ),
        lambda r: f"-----BEGIN PRIVATE KEY-----\\n{token(r, 64)}\\n-----END PRIVATE KEY-----\\n",
        lambda r: f"-----BEGIN OPENSSH PRIVATE KEY-----\n{token(r, 70)}",
    ),
    "jwt": (
        lambda r: ".".join(
            (segment({"alg": "RS256", "kid": token(r, 8)}), segment({"sub": 1}), token(r, 86))
        ),
        lambda r: ".".join(
            (segment({"typ": "JWT", "alg": "HS512"}), segment({"id": 7}), token(r, 43))
        ),
    ),
    "aws_key": (
        lambda r: "AKIA" + some(r, string.ascii_uppercase + "234567", 16),
        lambda r: "ASIA" + some(r, UPPER, 16),
        lambda r: "aws_secret_access_key = " + some(r, ALPHANUMERIC + "/+", 40),
    ),
    "gcp_key": (lambda r: token(r, "AIzaSy", 33), lambda r: token(r, "GOCSPX-", 28)),
    "azure_key": (
        lambda r: f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={token(r, 86)}==;",
        lambda r: token(r, 3, "8Q~", 34),
    ),
    "github_token": (
        lambda r: token(r, r.choice(("ghp_", "gho_", "ghu_", "ghs_", "ghr_")), 36),
        lambda r: token(r, "github_pat_", 22, "_", 59),
    ),
    "gitlab_token": (lambda r: token(r, "glpat-", 20), lambda r: token(r, "gldt-", 20)),
    "slack_token": (
        lambda r: token(r, "xoxb-", digits(r, 12), "-", digits(r, 13), "-", 24),
        lambda r: token(r, "https://hooks.slack.com/services/T", 8, "/B", 10, "/", 24),
    ),
    "stripe_key": (
        lambda r: token(r, "sk_live_", 24),
        lambda r: token(r, "sk_live_51", 97),
        lambda r: token(r, "rk_test_", 24),
    ),
    "openai_key": (
        lambda r: token(r, "sk-proj-", 74, "T3BlbkFJ", 74),
        lambda r: token(r, "sk-", 20, "T3BlbkFJ", 20),
    ),
    "anthropic_key": (lambda r: token(r, "sk-ant-api03-", 93, "AA"),),
    "npm_token": (lambda r: token(r, "npm_", 36),),
    "pypi_token": (lambda r: token(r, "pypi-AgEIcHlwaS5vcmcC", 150),),
    "sendgrid_key": (lambda r: token(r, "SG.", 22, ".", 43),),
    "twilio_key": (lambda r: "SK" + some(r, HEX, 32),),
    "telegram_token": (lambda r: token(r, str(r.randrange(10**8, 10**10)), ":AA", 33),),
    "discord_token": (lambda r: token(r, "MTE", 21, ".", 6, ".", 38),),
    "square_token": (lambda r: token(r, "EAAA", 60), lambda r: token(r, "sq0atp-", 22)),
    "mailchimp_key": (lambda r: some(r, HEX, 32) + f"-us{r.randrange(1, 22)}",),
    "url_credentials": (
        lambda r: f"postgres://app:{token(r, 12)}@db.prod:5432/main",
        lambda r: f"https://{token(r, 6)}:{token(r, 10)}9!@host.example/path",
    ),
    "credential_assignment": (
        lambda r: f"password={token(r, 9)}7!",
        lambda r: f'"api_key": "{some(r, HEX, 32)}"',
        lambda r: f"client_secret: {token(r, 31)}4",
        lambda r: f"DB_PASSWORD='{token(r, 8)}#3'",
        lambda r: f"Authorization: Bearer {token(r, 39)}2",
    ),
}


def positives(chance: Random, count: int) -> Iterator[Case]:
    """Yield about ``count`` cases for each detector."""

    def plain(value: str) -> str:
        return chance.choice(PLAIN).format(value)

    def with_words(words: tuple[str, ...], value: str) -> str:
        return (
            plain(chance.choice(words).format(value))
            if chance.random() < 0.3
            else (chance.choice(words).format(value))
        )

    def one(family: str, content: object, detector: str, *also: str) -> Case:
        return Case(family, content, frozenset((detector,)), frozenset(also))

    for n in range(count):
        yield one("card", plain(written_card(chance)), "payment_card")
        if n % 3 == 0:
            yield one(
                "card disguised", plain(disguise(chance, written_card(chance))), "payment_card"
            )
            yield one("iban disguised", plain(disguise(chance, written_iban(chance))), "iban")
            yield one("ssn disguised", plain(disguise(chance, "-".join(ssn(chance)))), "us_ssn")
            yield one("card in a list", {"parts": _quarters(card_of_16(chance))}, "payment_card")
            yield one("card as a number", {"pan": int(card_of_16(chance))}, "payment_card")
            key = chance.choice(("ssn", "userSsn", "social_security_number", "SSN"))
            bare = "".join(ssn(chance))
            yield one("ssn by key", {"person": {key: bare}}, "us_ssn", "keyword")
            key = chance.choice(("phone", "mobileNumber", "contact_phone", "tel", "whatsapp"))
            bare = f"{chance.randrange(201, 990)}{chance.randrange(200, 1000)}{digits(chance, 4)}"
            yield one("phone by key", {"user": {key: bare}}, "phone")
            yield one(
                "password by key", {"password": token(chance, 9) + "4!"}, "credential_assignment"
            )
        yield one("iban", plain(written_iban(chance)), "iban")
        joint = chance.choice(("-", "-", "-", " ", ".", "–", " - "))
        yield one("ssn", plain(joint.join(ssn(chance))), "us_ssn")
        words = chance.choice(SSN_WORDS)
        yield one("ssn by words", words.format("".join(ssn(chance))), "us_ssn", "keyword")
        yield one("email", plain(email(chance)), "email")
        yield one("phone", plain(phone(chance)), "phone")
        words = chance.choice(PHONE_WORDS)
        national = f"{chance.randrange(201, 990)}{chance.randrange(200, 1000)}{digits(chance, 4)}"
        yield one("phone by words", words.format(national), "phone")
        yield one("ipv4", plain(public_ipv4(chance)), "ip_address")
        yield one("ipv6", plain(ipv6(chance)), "ip_address")
        octets = [some(chance, HEX, 2) for _ in range(6)]
        if any(c.isalpha() for c in "".join(octets)) and any(c.isdigit() for c in "".join(octets)):
            yield one("mac", plain(chance.choice(":-").join(octets)), "mac_address")
        address = chance.choice((base58_address, segwit_address))(chance)
        yield one("wallet", plain(address), "crypto_wallet")
        value = chance.choice(
            (digits(chance, 9), some(chance, string.ascii_uppercase, 1) + digits(chance, 8))
        )
        yield one("passport", with_words(PASSPORT_WORDS, value), "passport")
        value = chance.choice(
            (some(chance, string.ascii_uppercase, 1) + digits(chance, 7), digits(chance, 8),
             some(chance, string.ascii_uppercase, 5) + digits(chance, 6) + some(chance, UPPER, 5))
        )  # fmt: skip
        yield one("licence", with_words(LICENCE_WORDS, value), "driving_licence")
        yield one("birth", with_words(BIRTH_WORDS, birth_date(chance)), "date_of_birth")
        yield one("routing", with_words(ROUTING_WORDS, routing(chance)), "us_routing_number")
        group = chance.choice([*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)])
        number = f"9{digits(chance, 2)}-{group}-{digits(chance, 3)}7"
        yield one(
            "itin",
            chance.choice(("ITIN {}", "taxpayer id {}", "my ITIN: {}")).format(number),
            "us_itin",
        )
        for detector, makers in SECRETS.items():
            if n % 2 == 0:
                yield one(detector, plain(chance.choice(makers)(chance)), detector)
        word = chance.choice(
            ("confidential", "Top Secret", "internal use only", "userSsn", "TOP_SECRET")
        )
        yield one("keyword", plain(word), "keyword")


def further_positives(chance: Random, count: int) -> Iterator[Case]:
    """Yield values of the detectors that came later."""
    for _ in range(count):
        key = chance.choice(VENDOR_KEYS)(chance)
        yield Case(
            "vendor_key", chance.choice(PLAIN).format(key), frozenset({"vendor_key"}), frozenset()
        )
        address = chance.choice(("10.{}.{}.{}", "192.168.{1}.{2}", "172.16.{}.{}"))
        address = address.format(*[chance.randrange(1, 250) for _ in range(3)])
        yield Case(
            "private address",
            chance.choice(PLAIN).format(address),
            frozenset({"private_ip_address"}),
            frozenset(),
        )


VENDOR_KEYS: tuple[Callable[[Random], str], ...] = (
    lambda r: "hf_" + some(r, string.ascii_letters, 34),
    lambda r: "dop_v1_" + some(r, HEX, 64),
    lambda r: "dapi" + some(r, HEX, 32),
    lambda r: token(r, "dckr_pat_", 27),
    lambda r: token(r, "hvs.", 90),
    lambda r: token(r, "lin_api_", 40),
    lambda r: token(r, "glsa_", 32, "_") + some(r, HEX, 8),
)


def card_of_16(chance: Random) -> str:
    body = "4" + digits(chance, 14)
    return body + luhn.calc_check_digit(body)


def _quarters(number: str) -> list[str]:
    return [number[n : n + 4] for n in range(0, 16, 4)]
