"""Everyday notations of cards and social security numbers, and what looks like them and is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from urllib.parse import quote

from tests.scorecard.case import Case
from tests.scorecard.positives import card_of_16, digits, ssn

# Shown as nothing: zero-width, unassigned, variation selectors, tags.
_INVISIBLE = (
    "\u200b", "\u2060", "\u2065", "\ufff0", "\ufff8", "\ufe0f", "\u180f", "\U000e0001",
    "\U000e0080", "\U000e0100", "\U0001d173", "\U0001bca0",
)  # fmt: skip
_JOINTS: dict[str, tuple[str, ...]] = {
    "percent-encoded": ("%20", "%2D", "%2d", "%C2%A0", "%E2%80%91", "%2520", "%252D"),
    "entities": ("&#45;", "&#x2d;", "&nbsp;", "&hyphen;", "&minus;", "&ndash;", "&amp;#45;"),
    "escaped": ("\\u002d", "\\u0020", "\\x2d", "\\u2011", "\\\\u002d"),
    "plus": ("+",),
    "comma": (",", ", ", ";", "; "),
    "invisible": tuple(f"-{each}" for each in _INVISIBLE),
    "soft breaks": ("-=\n", "-=\r\n"),
}  # fmt: skip
_PLAIN = ("{}", "see {} please", "({})", 'q="{}"', "a: {}\nb: 1")
_WRAPS = ("\n", "\r\n", "\n    ", "\n> ", " \n")


def notations(chance: Random, count: int) -> Iterator[Case]:
    """Yield the cases of every notation, ``count`` times."""
    for _ in range(count):
        for detector, make in (("payment_card", _card_groups), ("us_ssn", _ssn_groups)):
            for family, joints in _JOINTS.items():
                value = chance.choice(joints).join(make(chance))
                yield _case(family, chance.choice(_PLAIN).format(value), detector)
            for family, content in _others(chance, make(chance)).items():
                yield _case(family, content, detector)
        number = card_of_16(chance)
        yield _case("one number in a list", [int(number)], "payment_card")
        half = chance.randrange(4, 13)
        wrapped = number[:8] + chance.choice(_WRAPS) + number[8:]
        yield _case("wrapped anywhere", f"card {number[:half]}\n{number[half:]}", "payment_card")
        yield _case("wrapped", chance.choice(_PLAIN).format(wrapped), "payment_card")
        halves = _filled(chance, card_of_16, (8, 8))
        yield _case(
            "halves", [int(halves[0]), chance.choice((int, str))(halves[1])], "payment_card"
        )
        yield _case("one number in a list", {"ssn": [int("".join(_ssn_groups(chance)))]}, "us_ssn")
        area, group, serial = _ssn_groups(chance)
        yield _case("halves", {"ssn": [int(area + group), int(serial)]}, "us_ssn")
        yield _case("halves", [f"{area}-{group}", serial], "us_ssn")
        lost = [int(part) for part in ssn(chance)]
        yield _case("zeros lost", {"social_security": lost}, "us_ssn")
        yield _case("wrapped", f"{area}-{group}-{chance.choice(_WRAPS)}{serial}", "us_ssn")


def _case(family: str, content: object, detector: str) -> Case:
    return Case(family, content, frozenset((detector,)), frozenset(("keyword",)))


def _others(chance: Random, groups: list[str]) -> dict[str, object]:
    """Return the notations that are more than another joint."""
    numbers = [int(group) for group in groups]
    spaced = " ".join(groups)
    dashed = "-".join(groups)
    return {
        "list of numbers": {"parts": numbers},
        "list of both": [chance.choice((int, str))(group) for group in groups],
        "list in a string": json.dumps({"v": numbers}, indent=chance.choice((None, 2))),
        "strings in a string": json.dumps(json.dumps(groups)),
        "digits percent-encoded": "".join(f"%{ord(c):02X}" for c in dashed),
        "digits as entities": "".join(f"&#{ord(c)};" for c in spaced),
        "digits escaped": f'{{"v":"\\u{ord(dashed[0]):04x}{dashed[1:]}"}}',
        "in a query": f"?a=1&v={quote(dashed).replace('-', '%2D')}&b=2",
        "in a form": f"v={'+'.join(groups)}&b=2",
        "wrapped at a dash": f"{groups[0]}-\n{'-'.join(groups[1:])}",
    }


def _filled(chance: Random, make: Callable[[Random], str], sizes: tuple[int, ...]) -> list[str]:
    """Return a number in groups of which none starts with a zero, which a list would lose."""
    while True:
        number, groups = make(chance), []
        for size in sizes:
            groups.append(number[:size])
            number = number[size:]
        counted = {group[-1] for group in groups} <= {"0", "5", "9"}
        if not counted and not any(group.startswith("0") for group in groups):
            return groups


def _card_groups(chance: Random) -> list[str]:
    return _filled(chance, card_of_16, (4, 4, 4, 4))


def _ssn_groups(chance: Random) -> list[str]:
    return _filled(chance, lambda r: "".join(ssn(r)), (3, 2, 4))


def _whole(chance: Random, most: int) -> int:
    return chance.randrange(10 ** chance.randrange(1, most))


LOOK_ALIKES: dict[str, Callable[[Random], object]] = {
    "list of prices": lambda r: {"prices": [r.randrange(1000, 10000) for _ in range(4)]},
    "list of cents": lambda r: (
        {"amounts": [r.randrange(100, 10**6) for _ in range(r.randrange(2, 9))]}
    ),
    "list of years": lambda r: [r.randrange(1950, 2031) for _ in range(4)],
    "years in a string": lambda r: ",".join(str(r.randrange(1950, 2031)) for _ in range(4)),
    "coordinates": lambda r: [round(r.uniform(-180, 180), 4) for _ in range(r.choice((2, 3, 4)))],
    "list of ports": lambda r: {"ports": [r.randrange(1024, 65536) for _ in range(4)]},
    "ports in a string": lambda r: (
        "ports: " + ",".join(str(r.randrange(1024, 9999)) for _ in range(4))
    ),
    "round numbers": lambda r: [r.randrange(1, 100) * 100 for _ in range(4)],
    "steps": lambda r: list(range(start := r.randrange(1000, 6000), start + 4)),
    "query string": lambda r: (
        f"/search?q=red%20shoes&page={_whole(r, 5)}&t={_whole(r, 10)}"
    ),
    "encoded link": lambda r: (
        f"https://example.org/a%2Fb%20{_whole(r, 6)}?next=%2Fi%3Fid%3D{_whole(r, 8)}"
    ),
    "entities in text": lambda r: (
        f"Tom &amp; Jo&nbsp;{_whole(r, 4)}&ndash;{_whole(r, 4)} &#8364;{_whole(r, 5)}"
    ),
    "escapes in text": lambda r: (
        f'{{"note":"caf\\u00e9 \\u2013 {_whole(r, 4)}\\n{_whole(r, 6)} items"}}'
    ),
    "versions": lambda r: (
        ",".join(f"{r.randrange(9)}.{r.randrange(30)}.{r.randrange(99)}" for _ in range(4))
    ),
    "matrix": lambda r: [[_whole(r, 5) for _ in range(3)] for _ in range(3)],
    "matrix in a string": lambda r: (
        json.dumps([[_whole(r, 5) for _ in range(4)] for _ in range(3)])
    ),
    "timestamps": lambda r: [r.randrange(1_500_000_000, 1_900_000_000) for _ in range(2)],
    "days": lambda r: (
        [20_240_000 + r.randrange(1, 13) * 100 + r.randrange(1, 29) for _ in range(2)]
    ),
    "sum": lambda r: (
        f"{(a := _whole(r, 5))}+{(b := _whole(r, 5))}+{(c := _whole(r, 5))}={a + b + c}"
    ),
    "csv table": lambda r: (
        "\n".join(",".join(str(_whole(r, 5)) for _ in range(3)) for _ in range(4))
    ),
    "column": lambda r: "\n".join(str(r.randrange(1000, 10000)) for _ in range(6)),
    "log": lambda r: (
        "\n".join(f"took {_whole(r, 9)}\n2024-05-{r.randrange(10, 29)} ok" for _ in range(3))
    ),
    "thousands": lambda r: f"{r.randrange(1, 999)},{digits(r, 3)},{digits(r, 3)}",
    "counts": lambda r: {"counts": [_whole(r, 5) for _ in range(3)]},
    "size": lambda r: {"size": [r.randrange(100, 2000) for _ in range(2)], "rgb": [120, 45, 200]},
}  # fmt: skip


def look_alikes(chance: Random, count: int) -> Iterator[Case]:
    """Yield ``count`` harmless cases of each kind."""
    for family, make in LOOK_ALIKES.items():
        for _ in range(count):
            yield Case(family, make(chance))
