"""Messages that are too large to send."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message


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
