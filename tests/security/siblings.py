"""Texts that keep one alternative of a pattern alive while another one matches over and over."""

from __future__ import annotations

import string
from collections.abc import Iterator
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

JOINTS = ("", "/", "+", "-", ".", "_", "'", " ")
_CHARACTERS = "a1A" + string.printable + "\u4e00"


def units(pattern: str) -> Iterator[str]:
    """Yield what to repeat: what opens an unlimited repetition of ``pattern``, then a short match
    of it, joined by what may or may not be a part of either."""
    tree = _parser.parse(pattern)
    openers = set(_openers(tree))
    for opener in sorted(openers):
        for match in sorted(set(_matches(tree))):
            for joint in JOINTS:
                yield joint + opener + match
                yield joint + opener + joint + match


def _matches(tree: Any) -> Iterator[str]:
    """Yield the shortest match by each alternative."""
    items = [_item_matches(item) for item in tree]
    shortest = [each[0] for each in items]
    yield "".join(shortest)
    for place, each in enumerate(items):
        for other in each[1:]:
            yield "".join([*shortest[:place], other, *shortest[place + 1 :]])


def _item_matches(item: Any) -> list[str]:
    kind, value = item
    if kind is kinds.LITERAL:
        return [chr(value)]
    if kind in (kinds.NOT_LITERAL, kinds.IN, kinds.ANY):
        return [next(each for each in _CHARACTERS if _in_class(kind, value, each))]
    if kind is kinds.AT:
        return [""]
    if kind is kinds.BRANCH:
        return [match for branch in value[1] for match in _matches(branch)]
    if kind is kinds.SUBPATTERN:
        return list(_matches(value[-1]))
    assert kind is kinds.MAX_REPEAT, kind
    least, _, inner = value
    return [match * least for match in _matches(inner)] if least else [""]


def _openers(tree: Any) -> Iterator[str]:
    """Yield the least that leads into each unlimited repetition."""
    before = ""
    for kind, value in tree:
        if kind is kinds.MAX_REPEAT:
            least, most, inner = value
            yield from (before + each for each in _openers(inner))
            if most == kinds.MAXREPEAT:
                yield before + next(_matches(inner)) * max(least, 1)
        elif kind is kinds.BRANCH:
            for branch in value[1]:
                yield from (before + each for each in _openers(branch))
        elif kind is kinds.SUBPATTERN:
            yield from (before + each for each in _openers(value[-1]))
        before += _item_matches((kind, value))[0]


def _in_class(kind: Any, value: Any, character: str) -> bool:
    point = ord(character)
    if kind is kinds.ANY:
        return character != "\n"
    if kind is kinds.NOT_LITERAL:
        return bool(point != value)
    negated = found = False
    for part, content in value:
        if part is kinds.NEGATE:
            negated = True
        elif part is kinds.LITERAL:
            found |= point == content
        else:
            assert part is kinds.RANGE, part
            found |= content[0] <= point <= content[1]
    return bool(found) is not negated
