"""Protocol Buffers messages of any type."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

LENGTH_DELIMITED = 2
"""The wire type of a field that holds bytes, a text or a message."""


def cut_lists(message: Message, counts: Mapping[str, str], most_bytes: int) -> bool:
    """Keep only as many elements of repeated fields as fit; return whether any were removed.

    `counts` maps each repeated field to the field for the number of elements that there were.
    Together the lists take up to `most_bytes`, each an equal share.
    """
    is_cut = False
    for field, count in counts.items():
        elements = getattr(message, field)
        setattr(message, count, max(getattr(message, count), len(elements)))
        left = most_bytes // len(counts)
        for index, element in enumerate(elements):
            # Each is preceded by a tag and a length.
            left -= element.ByteSize() + 6
            if left < 0:
                del elements[index:]
                is_cut = True
                break
    return is_cut


def length_delimited_field(number: int, content: bytes) -> bytes:
    """Return a field that holds bytes, a text or a message, as protobuf serializes it."""
    return b"".join((_varint(number << 3 | LENGTH_DELIMITED), _varint(len(content)), content))


def _varint(number: int) -> bytes:
    if number < len(_SHORT):
        return _SHORT[number]
    return bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)


_SHORT = [bytes((number,)) for number in range(0x80)]
