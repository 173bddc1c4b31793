"""Texts that must pass: what a naive pattern stumbles over, and ordinary writing."""

from __future__ import annotations

import hashlib
import string
import uuid
from collections.abc import Callable, Iterator
from random import Random

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from tests.scorecard.case import Case
from tests.scorecard.positives import HEX, digits, some

PROSE = (
    "The committee met on Tuesday and postponed the decision until spring.",
    "Her flight leaves at 10:45 from gate B12, and the taxi costs about 45 euros.",
    "Die Rechnung vom 03.04.2024 über 1.234,56 EUR ist noch offen.",
    "La réunion aura lieu le 12 mars 2025 à 14 h 30, salle 204.",
    "El pedido nº 48213 llegará el lunes; el total es de 1.299,00 €.",
    "Il treno delle 18:35 è in ritardo di 20 minuti.",
    "会议将于2024年5月1日上午10点举行，共有120人参加。",
    "会議は3月12日の午後2時から、参加者は45名です。",
    "Поезд отправляется в 18:30 с пятого пути, билет стоит 1 250 рублей.",
    "Please update the mission statement and the classname of the widget.",
    "The passport office is closed today; bring your own pen.",
    "She was born in the north and raised by the sea.",
    "Your password must have at least 12 characters, one of them a digit.",
    "The token bucket holds 100 tokens and refills at 10 per second.",
    "Call the function with two arguments and cell B4 turns green.",
    "He scored 41 points in 36 minutes, the best since 1998.",
    "Chapter 3 covers secrets of good management; see pages 120-145.",
    "The mobile app got 4.5 stars from 12,345 reviewers.",
    "A card game for 2-4 players, ages 8 and up.",
    "Add 250 g flour, 125 ml milk and 2 eggs; bake at 180 degrees for 35 minutes.",
    "Room 101, floor 3, building 12, 48143 Münster.",
    "1600 Pennsylvania Avenue NW, Washington, DC 20500",
    "The driver updated the printer software after 3 attempts.",
    "Born to run is track 8, 4:31 long.",
    "Our routing algorithm visits 123456 nodes in 9 ms.",
    "The API returns 200 OK, 404 or 503; see section 4.3.2.1 of the manual.",
    "We sold 1,234,567 units in 2023 and 2,345,678 in 2024.",
    "Contact the front desk if the key card does not open the door.",
    "The secret of the sauce is patience.",
    "Tel Aviv, Phoenix and Call of Duty are not phone numbers.",
)

CODE = (
    "def add(a: int, b: int) -> int:\n    return a + b",
    "for (int i = 0; i < 1000000; i++) { sum += i * 3.14159; }",
    "SELECT id, name FROM users WHERE id = 12345 AND token IS NOT NULL;",
    "const password = process.env.DB_PASSWORD;",
    "password = getpass.getpass('Password: ')",
    "@app.route('/submit') async def submit(request): ...",
    "std::vector<std::pair<int, int>> v; a::b::c();",
    "import { token } from './auth.js'; // api key goes in .env",
    "git checkout 3f786850e387550fdab836ed7e6dc881de23001b",
    "docker pull nginx@sha256:{sha}",
    "pip install numpy==1.26.4 requests==2.31.0",
    'version: "3.8"\nservices:\n  web:\n    image: nginx:1.25.3\n    ports: ["8080:80"]',
    "margin: 0 auto; color: #ff00aa; background: url(icon@2x.png);",
    "kubectl get pods -n prod --token=$TOKEN",
    "curl -H 'Authorization: Bearer $ACCESS_TOKEN' https://api.example.org/v1",
    "if (user.password === undefined) throw new Error('missing password');",
    "git clone git@github.com:example/project.git",
    'secretKeyRef: {name: app, key: "api-key"}',
    "x = (a @ b.T) / np.sqrt(64)",
    "#define MAX_TOKENS 4096 /* 0xDEADBEEF */",
    "chmod 0644 file; umask 022; ls -la | awk '{print $5}'",
    '"integrity": "sha512-{b64}=="',
    'Traceback (most recent call last): File "app.py", line 120, in main',
    "UPDATE t SET pin_count = 3 WHERE pass_id = 17;",
)


def _card_failing(chance: Random) -> str:
    body = "4" + digits(chance, 14)
    return body + str((int(luhn.calc_check_digit(body)) + chance.randrange(1, 10)) % 10)


def _iban_failing(chance: Random) -> str:
    body = digits(chance, 18)
    check = (int(mod_97_10.calc_check_digits(body + "DE")) + chance.randrange(1, 90)) % 97
    text = f"DE{check:02}{body}"
    return text if chance.random() < 0.5 else " ".join(text[n : n + 4] for n in range(0, 22, 4))


def _isbn(chance: Random) -> str:
    body = "978" + digits(chance, 9)
    check = -sum(int(d) * (1 if n % 2 == 0 else 3) for n, d in enumerate(body)) % 10
    full = body + str(check)
    return chance.choice((full, f"{full[:3]}-{full[3]}-{full[4:7]}-{full[7:12]}-{full[12]}"))


def _imei(chance: Random) -> str:
    body = "35" + digits(chance, 12)
    return body + luhn.calc_check_digit(body)


def _moment(chance: Random) -> str:
    return (
        f"2024-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
        f"T{chance.randrange(24):02}:{chance.randrange(60):02}:{chance.randrange(60):02}"
    )


MAKERS: dict[str, Callable[[Random], object]] = {
    "uuid": lambda r: str(uuid.UUID(int=r.getrandbits(128), version=4)),
    "uuid in a log": lambda r: (
        f"request_id={uuid.UUID(int=r.getrandbits(128), version=4)} status=200"
    ),
    "ulid": lambda r: "01" + some(r, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
    "epoch seconds": lambda r: str(r.randrange(1_500_000_000, 1_900_000_000)),
    "epoch milliseconds": lambda r: {"ts": r.randrange(1_500_000_000_000, 1_900_000_000_000)},
    "epoch microseconds": lambda r: f"at {r.randrange(15 * 10**14, 19 * 10**14)}",
    "epoch nanoseconds": lambda r: str(r.randrange(1_500_000_000 * 10**9, 1_900_000_000 * 10**9)),
    "md5": lambda r: hashlib.md5(r.randbytes(8)).hexdigest(),  # noqa: S324
    "sha1": lambda r: "commit " + hashlib.sha1(r.randbytes(8)).hexdigest(),  # noqa: S324
    "sha256": lambda r: "sha256:" + hashlib.sha256(r.randbytes(8)).hexdigest(),
    "order number": lambda r: f"Order {r.choice('#-:')}{digits(r, r.randrange(5, 12))}",
    "order with dashes": lambda r: f"order 1{digits(r, 2)}-{digits(r, 7)}-{digits(r, 7)}",
    "invoice": lambda r: f"INV-2024-{digits(r, 6)} over ${r.randrange(10**6) / 100:,.2f}",
    "isbn": lambda r: f"ISBN {_isbn(r)}",
    "imei": lambda r: f"IMEI: {_imei(r)}",
    "bare imei": _imei,
    "version": lambda r: f"v{r.randrange(20)}.{r.randrange(50)}.{r.randrange(99)}",
    "long version": lambda r: "version " + ".".join(str(r.randrange(200)) for _ in range(4)),
    "user agent": lambda r: (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{r.randrange(90, 130)}.0.{r.randrange(200)}.{r.randrange(200)} Safari/537.36"
    ),
    "coordinates": lambda r: f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f}",
    "signed coordinates": lambda r: f"{r.uniform(-90, 90):+.4f}{r.uniform(-180, 180):+.4f}/",
    "geo object": lambda r: {"lat": r.uniform(-90, 90), "lon": r.uniform(-180, 180)},
    "price": lambda r: f"{r.choice('$€£')}{r.randrange(10**7) / 100:,.2f}",
    "prices": lambda r: [round(r.uniform(1, 9999), 2) for _ in range(8)],
    "metrics": lambda r: {f"m{n}": r.uniform(0, 10 ** r.randrange(1, 9)) for n in range(6)},
    "table of numbers": lambda r: "\n".join(
        " ".join(str(r.randrange(10 ** r.randrange(1, 6))) for _ in range(6)) for _ in range(4)
    ),
    "csv": lambda r: ",".join((_moment(r), str(r.randrange(10**6)), f"{r.random():.8f}", "ok")),
    "card failing luhn": _card_failing,
    "card failing, grouped": lambda r: "{} {} {} {}".format(*_fours(_card_failing(r))),
    "iban failing": _iban_failing,
    "ssn samples": lambda r: r.choice(
        ("078-05-1120", "219-09-9999", "000-12-3456", "666-45-6789", "123-00-4567")
    ),
    "ssn 9xx": lambda r: f"9{digits(r, 2)}-{digits(r, 2)}-{digits(r, 4)}",
    "nine digits": lambda r: f"batch {digits(r, 9)}",
    "log line": lambda r: (
        f"{_moment(r)}.{digits(r, 3)}Z INFO [worker-{r.randrange(9)}] handled 128 items in "
        f"{r.randrange(999)} ms, id={some(r, HEX, 16)} bytes={r.randrange(10**7)}"
    ),
    "access log": lambda r: (
        f'127.0.0.1 - - [10/Oct/2024:13:55:36 +0000] "GET /v1/items/{r.randrange(10**6)} HTTP/1.1" '
        f"200 {r.randrange(10**5)}"
    ),
    "date and time": lambda r: (
        _moment(r).replace("T", " ") + r.choice(("", "+00:00", "-0500", " UTC+1"))
    ),
    "date ranges": lambda r: f"01-02-2024 to {r.randrange(10, 29)}-03-2024, 09:00-17:30",
    "mac-like fingerprint": lambda r: ":".join(some(r, HEX, 2) for _ in range(20)),
    "hex colours": lambda r: (
        f"#{some(r, HEX, 6)} and rgb({r.randrange(256)}, {r.randrange(256)}, 12)"
    ),
    "base64": lambda r: some(r, string.ascii_letters + string.digits + "+/", 64),
    "serial number": lambda r: f"S/N {some(r, string.ascii_uppercase + string.digits, 12)}",
    "part number": lambda r: (
        f"PN {some(r, string.ascii_uppercase, 2)}-{digits(r, 4)}-{digits(r, 2)}"
    ),
    "tracking": lambda r: "1Z" + some(r, string.ascii_uppercase + string.digits, 16),
    "usps": lambda r: "9400 1{} {} {} {} {}".format(
        digits(r, 3), *[digits(r, 4) for _ in range(3)], digits(r, 2)
    ),
    "ean": lambda r: f"EAN {r.choice(('40', '50', '76'))}{digits(r, 11)}",
    "licence plate": lambda r: f"MS-{some(r, string.ascii_uppercase, 2)} {digits(r, 4)}",
    "zip codes": lambda r: f"{digits(r, 5)}-{digits(r, 4)}",
    "file name": lambda r: f"backup_{_moment(r).translate({45: None, 58: None})}.tar.gz",
    "percentages": lambda r: f"{r.random() * 100:.2f}% of {r.randrange(10**6)}",
    "phone-like arithmetic": lambda r: (
        f"{r.randrange(100, 200)}-{r.randrange(100, 199)}-{r.randrange(999)}"
    ),
    "placeholder password": lambda r: r.choice(
        (
            "password=********",
            "password: <redacted>",
            "api_key=YOUR_API_KEY",
            "token: ${TOKEN}",
            "secret: null",
        )
    ),
    "published key": lambda r: r.choice(
        (
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "sk_" + "test_4eC39HqLyjWDarjtT1zdp7dc",
        )
    ),
    "identifiers": lambda r: {
        "id": r.randrange(10**9),
        "parent_id": str(r.randrange(10**11)),
        "hash": some(r, HEX, 40),
    },
    "snowflake": lambda r: str(r.randrange(10**17, 10**18)),
    "short list": lambda r: [str(r.randrange(10, 99)) for _ in range(5)],
    "code": lambda r: (
        r.choice(CODE)
        .replace("{sha}", some(r, HEX, 64))
        .replace("{b64}", some(r, string.ascii_letters + string.digits + "+/", 86))
    ),
    "prose": lambda r: " ".join(r.sample(PROSE, 3)),
    "event": lambda r: {
        "event": "page_view",
        "at": _moment(r) + "Z",
        "session": some(r, HEX, 24),
        "duration": r.random(),
        "page": f"/items/{r.randrange(10**5)}?sort=asc&page={r.randrange(50)}",
        "tags": ["web", "beta"],
    },
}


def harmless(chance: Random, count: int) -> Iterator[Case]:
    """Yield ``count`` cases of each kind."""
    for family, make in MAKERS.items():
        for _ in range(count):
            yield Case(family, make(chance))


def _fours(number: str) -> list[str]:
    return [number[n : n + 4] for n in range(0, 16, 4)]
