"""The copy of a submission that may be kept: its shape, not its content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from google.protobuf import struct_pb2

from detection.fields import ROOT, Fields, Place

_LONGEST_RUN = 16
"""Runs of characters longer than this are masked to this length: what stays is a length class."""

_LINE = re.compile(r"[^\r\n]+")

Span = tuple[int, int, bool]
"""Start and end in a text, in code points, and whether punctuation is to be hidden too."""


def mask_whole(text: str) -> str:
    """Return what is kept of a text that is hidden whole: its lines, and their length class."""
    return _LINE.sub(lambda line: "*" * min(len(line.group()), _LONGEST_RUN), text)


def mask_text(text: str, spans: Iterable[Span]) -> str:
    """Return ``text`` with ``*`` for the characters in ``spans``; overlapping spans are fine.

    Punctuation and blanks stay, so that a card still looks like a card, except in secrets, where
    they are a part of what is secret.
    """
    hidden = bytearray(len(text))
    done = {False: 0, True: 0}
    for start, end, everything in sorted(spans):
        start, done[everything] = max(start, done[everything]), max(end, done[everything])
        for position in range(start, min(end, len(text))):
            character = text[position]
            if everything:
                hidden[position] |= character not in "\r\n"
            else:
                hidden[position] |= not (character.isascii() and not character.isalnum())
    kept: list[str] = []
    run = 0
    for character, hide in zip(text, hidden, strict=True):
        run = run + 1 if hide else 0
        if not hide:
            kept.append(character)
        elif run <= _LONGEST_RUN:
            kept.append("*")
    return "".join(kept)


def mask_data(
    data: struct_pb2.Value, fields: Fields, masked: Mapping[int, str]
) -> struct_pb2.Value:
    """Return a copy of ``data`` in which ``masked`` texts, named by their indices, stand masked.

    A number that is masked becomes a string of asterisks. ``fields`` is what the walk over the
    same ``data`` returned.
    """
    copy = struct_pb2.Value()
    copy.CopyFrom(data)
    reached: dict[int, struct_pb2.Value] = {}

    def container(number: int) -> struct_pb2.Value:
        value = reached.get(number)
        if value is None:
            value = reached[number] = member(fields.containers[number])
        return value

    def member(place: Place) -> struct_pb2.Value:
        owner, token = place
        if owner == ROOT:
            return copy
        if isinstance(token, str):
            return container(owner).struct_value.fields[token]
        return container(owner).list_value.values[token]

    for index, text in masked.items():
        if not fields.is_key[index]:
            member(fields.places[index]).string_value = text
    renamed = masked_keys(fields, masked)
    # Innermost first: renaming copies a member, and what was reached through it goes stale. A
    # container's number is above its owner's, so nothing stale is asked for again.
    for place in sorted(renamed, key=lambda place: place[0], reverse=True):
        owner, key = place
        members = container(owner).struct_value.fields
        members[renamed[place]].CopyFrom(members[str(key)])
        del members[str(key)]
    return copy


def masked_keys(fields: Fields, masked: Mapping[int, str]) -> dict[Place, str]:
    """Return new names for the object keys among ``masked``, different from all beside them."""
    affected = [index for index in masked if fields.is_key[index]]
    owners = {fields.places[index][0] for index in affected}
    names: dict[int, set[str]] = {owner: set() for owner in owners}
    if affected:
        for place, is_key in zip(fields.places, fields.is_key, strict=True):
            if is_key and place[0] in owners:
                names[place[0]].add(str(place[1]))
    renamed: dict[Place, str] = {}
    used: dict[tuple[int, str], int] = {}
    for index in affected:
        owner, key = fields.places[index]
        stem = name = masked[index]
        count = used.get((owner, stem), 0)
        while not count or name in names[owner]:
            count += 1
            name = stem if count == 1 else f"{stem}~{count}"
        used[owner, stem] = count
        names[owner].add(name)
        renamed[owner, key] = name
    return renamed
