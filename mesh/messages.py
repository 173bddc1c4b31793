"""Protocol Buffers messages of any type."""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

MAX_LIST_BYTES = 256 * 1024
"""Of the lists of one message together, so that whoever lists such messages can send any of them.
"""

LENGTH_DELIMITED = 2
"""The wire type of a field that holds bytes, a text or a message."""


def cut_lists(message: Message, most_bytes: int = MAX_LIST_BYTES) -> bool:
    """Keep only as many elements of counted lists as fit; return whether any were removed.

    A counted list is a repeated field `things` beside a field `thing_count`, which gets the number
    of elements that there were. Together the lists take up to `most_bytes`, each an equal share.
    """
    is_cut = False
    counts = _counted_lists(message.DESCRIPTOR)
    for field, count in counts:
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


@cache
def _counted_lists(message: Descriptor) -> list[tuple[str, str]]:
    """Return the name of each counted list of a message, with that of its count."""
    names = message.fields_by_name
    counts = {name: f"{name.removesuffix('s')}_count" for name in names}
    return [(name, count) for name, count in counts.items() if count in names]


def length_delimited_field(number: int, content: bytes) -> bytes:
    """Return a field that holds bytes, a text or a message, as protobuf serializes it."""
    tag, size = number << 3 | LENGTH_DELIMITED, len(content)
    if tag <= 0x7F and size <= 0x7F:
        # Most are short, and a batch has thousands.
        return b"%c%c%b" % (tag, size, content)
    if tag <= 0x7F and size <= 0x3FFF:
        return b"%c%c%c%b" % (tag, size & 0x7F | 0x80, size >> 7, content)
    return b"".join((varint(tag), varint(size), content))


def first_content(wire: bytes) -> tuple[int, int]:
    """Return where the content of a message's first field begins and ends.

    The field holds bytes, a text or a message, and its number is below 16.
    """
    size, start = wire[1], 2
    shift = 7
    while size >> shift:
        # As long as it is set, the highest bit says that there is more.
        size = size & (1 << shift) - 1 | wire[start] << shift
        start, shift = start + 1, shift + 7
    return start, start + size


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it: so also the length of what follows."""
    if number <= 0x7F:
        return bytes((number,))
    return bytes((number & 0x7F | 0x80,)) + varint(number >> 7)
