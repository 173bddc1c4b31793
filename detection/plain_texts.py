"""All texts of a value in a few calls: enough to tell that most submissions are clean.

To look at each value of a message costs an object and three calls. So its bytes are read a second
time, as a message of another shape, in which the members of an object and the items of a list are
not repeated. What comes again where it may not, protobuf merges into what came before. So all
objects below the same kinds of containers become one, with all of their keys and all of their texts
in two lists.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from struct import Struct
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from google.protobuf.message import DecodeError

from detection.fields import (
    MAX_KEY_CHARACTERS,
    MAX_PATH_CHARACTERS,
    MAX_SAFE_INTEGER,
    MOST_PARTS,
    SHORTEST,
    may_be_one,
    number_text,
)

# The fields have the numbers of those in google.protobuf.Value, Struct and ListValue.
#
# Merged leaves out number_value: numbers are found among the unknown fields, and so is whatever
# does not belong there. A repeated number could also be written packed, as no Value may have it.
# Listed keeps lists apart; it is for what is known to hold nothing else.
_SHAPES = """
name: "sluice/detection/plain_texts.proto" syntax: "proto2"
message_type {
  name: "Merged"
  field { name: "null" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "texts" number: 3 label: LABEL_REPEATED type: TYPE_STRING }
  field { name: "bool" number: 4 label: LABEL_OPTIONAL type: TYPE_BOOL }
  field { name: "struct" number: 5 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Members" }
  field { name: "list" number: 6 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Items" }
}
message_type {
  name: "Members"
  field { name: "all" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Member" }
}
message_type {
  name: "Member"
  field { name: "keys" number: 1 label: LABEL_REPEATED type: TYPE_STRING }
  field { name: "values" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Merged" }
}
message_type {
  name: "Items"
  field { name: "all" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Merged" }
}
message_type {
  name: "Listed"
  field { name: "numbers" number: 2 label: LABEL_REPEATED type: TYPE_DOUBLE }
  field { name: "texts" number: 3 label: LABEL_REPEATED type: TYPE_STRING }
  field { name: "struct" number: 5 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Inner" }
  field { name: "lists" number: 6 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".List" }
}
message_type {
  name: "Inner"
  field { name: "all" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Value" }
}
message_type {
  name: "Value"
  field { name: "values" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Listed" }
}
message_type {
  name: "List"
  field { name: "all" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".Listed" }
}
"""
_pool = descriptor_pool.DescriptorPool()
_pool.Add(text_format.Parse(_SHAPES, descriptor_pb2.FileDescriptorProto()))
_Merged: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("Merged"))
_Listed: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("Listed"))

_UNSET_MEMBER, _UNSET_ITEM = b"\x12\0", b"\x0a\0"
"""What a member of an object, and an item of a list, without a kind have in their bytes. A number
may hold the same, and then only costs more."""
_NOTHING = (b"", b"\x08")
"""What a value without a kind, and null, have as their first byte."""
_NUMBER_TAG = b"\x11"
_NUMBER_BYTES = 9
_numbers = Struct("<xd").iter_unpack
_VALUE_BYTES = 4
"""The least that a value in a list takes, beside its text."""
_TEXT_TAG = b"\x1a"
_LONGEST_SHORT = 127
"""The most bytes of a text whose length takes a single byte."""
_DIGITS = b"0123456789"


def plain_texts(wire: bytes, max_depth: int, max_nodes: int) -> list[str] | None:
    """Return all texts of a value, in no order, when no rule of shape can be broken, else None.

    ``wire`` is the value as protobuf writes it; as others might, it could hold more than is seen
    here. A key that comes more than once is returned once. None also where texts have to be seen
    in their places (a list that may be one value taken apart), and where there is anything beside
    the known fields. A walk then tells more, at many times the cost.
    """
    if wire[:1] == _TEXT_TAG and len(wire) == 2 + wire[1] <= 2 + _LONGEST_SHORT:
        return [wire[2:].decode()]
    if wire[:1] in _NOTHING or _UNSET_MEMBER in wire or _UNSET_ITEM in wire:
        return None
    try:
        level = [(False, _Merged.FromString(wire))]
    except DecodeError:
        return None
    keys: list[str] = []
    texts: list[str] = []
    numbers = b""
    has_parts = False
    for depth in range(max_depth + 1):  # noqa: B007 - the last one is asked for below
        below: list[tuple[bool, Any]] = []
        for is_list, values in level:
            here = values.texts[:]
            texts += here
            if values.HasField("struct"):
                container = values.struct
                members = container.all
                keys += members.keys[:]
                below.append((False, members.values))
                members.ClearField("keys")
                members.ClearField("values")
                container.ClearField("all")
                if members.ByteSize() or container.ByteSize():
                    return None
                values.ClearField("struct")
            if values.HasField("list"):
                container = values.list
                below.append((True, container.all))
                container.ClearField("all")
                if container.ByteSize():
                    return None
                values.ClearField("list")
            values.ClearField("texts")
            values.ClearField("null")
            values.ClearField("bool")
            unknown = values.SerializeToString()
            if unknown[::_NUMBER_BYTES] != _NUMBER_TAG * (len(unknown) // _NUMBER_BYTES):
                return None
            numbers += unknown
            if is_list and not has_parts:
                has_parts = unknown != b"" or _may_have_digits("".join(here))
        if not below:
            break
        level = below
    else:
        return None
    if len(wire) > _VALUE_BYTES * max_nodes:
        rest = len(wire) - len("".join(texts)) - len("".join(keys))
        if rest > _VALUE_BYTES * max_nodes:
            return None
    names = set(keys)
    # All keys together are mostly shorter than a single one may be.
    if len("".join(keys)) > MAX_KEY_CHARACTERS:
        longest = max(map(len, names))
        # No path has more keys than there are levels. Where they might be too long, the walk looks
        # at each.
        if longest > MAX_KEY_CHARACTERS or longest * depth > MAX_PATH_CHARACTERS:
            return None
    if has_parts and _any_taken_apart(_Listed.FromString(wire)):
        return None
    written = _number_texts({number for (number,) in _numbers(numbers)})
    if written is None:
        return None
    return [*texts, *names, *written]


def _may_have_digits(text: str) -> bool:
    """Tell whether there is a digit, or what may be one of another script."""
    raw = text.encode()
    return not text.isascii() or len(raw.translate(None, _DIGITS)) < len(raw)


def _number_texts(numbers: Collection[float]) -> list[str] | None:
    """Return numbers as `number_text` writes them, None where JSON cannot carry one."""
    if not all([-MAX_SAFE_INTEGER <= each <= MAX_SAFE_INTEGER for each in numbers]):  # noqa: C419
        return None
    return [str(int(each)) if each.is_integer() else repr(each) for each in numbers]


def _any_taken_apart(value: Any) -> bool:
    """Tell whether a list, somewhere in ``value``, may be one value taken apart."""
    unseen = [value]
    for holder in unseen:
        for each in holder.lists:
            items = each.all
            texts, numbers = list(items.texts), list(items.numbers)
            # What containers part is several values to the walk, of which each may be one.
            if items.HasField("struct") or items.lists:
                if _hold_a_value([*texts, *map(number_text, numbers)]):
                    return True
            elif len(texts) + len(numbers) <= MOST_PARTS and may_be_one(
                [*texts, *map(number_text, numbers)], numeric=bool(numbers)
            ):
                return True
            unseen.append(items)
        if holder.HasField("struct"):
            unseen.append(holder.struct.all.values)
    return False


def _hold_a_value(parts: Sequence[str]) -> bool:
    """Tell whether some of the texts can be one value taken apart."""
    whole = "".join(parts)
    return len(whole) >= SHORTEST and any(map(str.isdigit, whole))
