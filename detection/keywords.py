"""Keywords: words of the policy, found as whole words in any case."""

from __future__ import annotations

from detection.normalize import fold


def keyword_pattern(keyword: str) -> str:
    """Return the pattern for one keyword; its group is the keyword as it stands in the text.

    A keyword is found on token boundaries, and a token also starts at an underscore, a digit or a
    hump of camelCase: ``ssn`` is in ``user_ssn``, ``userSsn`` and ``my ssn is``, not in
    ``mission`` or ``className``. Blanks in a keyword match any joint, or none: ``top secret`` is in
    ``top-secret`` and ``topSecret``. A keyword with no ASCII letter or digit at an end needs no
    boundary there.
    """
    keyword = fold(keyword).strip()
    parts = [_quote(part) for part in keyword.split()]
    any_case = "(?i:" + "[ \\t_.-]{0,3}".join(parts) + ")"
    first, last = keyword[0], keyword[-1]
    if not first.isascii() or not last.isascii():
        return f"({any_case})"
    before, after = _outside(first), _outside(last)
    forms = [f"{before}({any_case}){after}"]
    if keyword.replace(" ", "").isalpha():
        humps = "".join(part.capitalize() for part in parts)
        camel = parts[0].lower() + "".join(part.capitalize() for part in parts[1:])
        capitals = "".join(part.upper() for part in parts)
        forms += [
            rf"{before}({camel}|{humps})[A-Z]",
            rf"{before}({capitals})[A-Z][a-z]",
            rf"[a-z]({humps})[^a-z]",
            rf"[a-z]({capitals})(?:{after}|[A-Z][a-z])",
        ]
    return "|".join(forms)


def _outside(edge: str) -> str:
    """Return a pattern for the character that may stand beside the first or last of a keyword."""
    if edge.isdigit():
        return "[^0-9]"
    return "[^A-Za-z]" if edge.isalpha() else r"(?s:.)"


def _quote(text: str) -> str:
    return "".join(c if c.isalnum() or not c.isascii() else "\\" + c for c in text)
