"""Work on protobuf messages that takes no knowledge of what they say."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

LENGTH_DELIMITED = 2
"""The wire type of a field that holds bytes, a text or a message."""


def cut_lists(message: Message, counts: Mapping[str, str], most_bytes: int) -> bool:
    """Leave only the first elements of repeated fields, those that fit; return whether any went.

    `counts` names the fields, and for each the one that says how many elements there were. All
    lists together take up to `most_bytes`, each of them an even share.
    """
    is_cut = False
    for field, count in counts.items():
        elements = getattr(message, field)
        setattr(message, count, max(getattr(message, count), len(elements)))
        left = most_bytes // len(counts)
        for index, element in enumerate(elements):
            # A tag and a length go before each.
            left -= element.ByteSize() + 6
            if left < 0:
                del elements[index:]
                is_cut = True
                break
    return is_cut


def length_delimited_field(number: int, content: bytes) -> bytes:
    """Return a field that holds bytes, a text or a message, as protobuf serializes it."""
    head = bytearray()
    for varint in (number << 3 | LENGTH_DELIMITED, len(content)):
        while varint > 0x7F:
            head.append(varint & 0x7F | 0x80)
            varint >>= 7
        head.append(varint)
    return bytes(head) + content
