"""What a payment card number is: the issuers' ranges and lengths, and the Luhn check."""

from __future__ import annotations

_TO_DIGIT = bytes(max(0, byte - 48) if byte < 58 else 0 for byte in range(256))
_TO_DOUBLED = bytes(
    (2 * (byte - 48) - 9 * (byte > 52)) if 48 <= byte < 58 else 0 for byte in range(256)
)

# First digits and lengths of each scheme: the schemes' published ranges, as collected under
# ISO/IEC 7812.
_SCHEMES: tuple[tuple[int, int, frozenset[int]], ...] = tuple(
    (int(low.ljust(6, "0")), int(high.ljust(6, "9")), frozenset(lengths))
    for low, high, lengths in (
        ("4", "4", (13, 16, 19)),  # Visa
        ("51", "55", (16,)),  # Mastercard
        ("2221", "2720", (16,)),  # Mastercard
        ("2200", "2205", range(16, 20)),  # Mir
        ("34", "34", (15,)),  # American Express
        ("37", "37", (15,)),
        ("300", "305", (14, 16, 17, 18, 19)),  # Diners Club
        ("3095", "3095", (14, 16, 17, 18, 19)),
        ("36", "36", (14, 16, 17, 18, 19)),
        ("38", "39", (14, 16, 17, 18, 19)),
        ("35", "35", (16,)),  # JCB, which issues 3528 to 3589; test data use all of 35
        ("3528", "3589", range(17, 20)),
        ("1800", "1800", (15,)),
        ("2131", "2131", (15,)),
        ("60", "60", (16, 19)),  # RuPay, Hipercard, Discover 6011
        ("62", "62", range(16, 20)),  # UnionPay
        ("64", "65", (16, 19)),  # Discover, RuPay, Elo
        ("81", "82", (16, 19)),  # UnionPay, RuPay
        ("9792", "9792", (16,)),  # Troy
        ("50", "50", (16, 19)),  # Maestro, Verve, Elo
        ("56", "58", (16, 19)),  # Maestro
        ("63", "63", (16, 19)),
        ("67", "67", (16, 19)),
        *(
            (prefix, prefix, range(12, 20))
            for prefix in (
                "5018",
                "5020",
                "5038",
                "5893",
                "6304",
                "6759",
                "6761",
                "6762",
                "6763",
                "6390",
            )
        ),
    )
)
_BY_FIRST_TWO: dict[bytes, list[tuple[int, int, frozenset[int]]]] = {}
for _scheme in _SCHEMES:
    for _two in range(_scheme[0] // 10_000, _scheme[1] // 10_000 + 1):
        _BY_FIRST_TWO.setdefault(b"%d" % _two, []).append(_scheme)


def luhn(digits: bytes) -> bool:
    """Tell whether ASCII ``digits`` pass the Luhn check (ISO/IEC 7812-1)."""
    return (
        sum(digits[-1::-2].translate(_TO_DIGIT)) + sum(digits[-2::-2].translate(_TO_DOUBLED))
    ) % 10 == 0


def issued(digits: bytes) -> bool:
    """Tell whether a card scheme issues numbers that start and are as long as ``digits``."""
    schemes = _BY_FIRST_TWO.get(digits[:2])
    if schemes is None:
        return False
    first, length = int(digits[:6]), len(digits)
    return any(low <= first <= high and length in lengths for low, high, lengths in schemes)


def is_card(digits: bytes) -> bool:
    """Tell whether ``digits`` can be a card number: issuer, length, Luhn, more than one digit."""
    return luhn(digits) and issued(digits) and len(set(digits)) > 1
