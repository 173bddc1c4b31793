"""One walk over a submission's ``data``, giving what validation and detection both need.

Everything a caller can write becomes a text: string values, object keys and numbers. A text's
place is kept as a container number and a token, so a JSON pointer is only built when something
is reported. The walk judges nothing; it records what the judges ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from google.protobuf import struct_pb2

Token = str | int
"""An object key or a list position."""

Place = tuple[int, Token]
"""Where a value stands: the number of its container, and its token in there."""

ROOT = -1
"""Container number of the place above everything: the ``data`` field itself."""

DATA_POINTER = "/data"

MAX_KEY_CHARACTERS = 1024
MAX_PATH_CHARACTERS = 4096
"""Of all keys above a value together. What lies beyond is not read, so that the pointer of whatever
is told about has a bounded length."""

NO_LIMIT = 1 << 62

MAX_SAFE_INTEGER = 2**53 - 1
"""Beyond this a JSON integer may have been changed by becoming a double (RFC 8259, section 6): 2^53
is also what 2^53 + 1 becomes."""

# A value taken apart: as many characters as an IBAN has, each by itself.
MOST_PARTS = 34
_LONGEST_PART = 9
# A social security number that lost two zeros.
SHORTEST = 7

# Where `repr` of a float turns to an exponent; up to there integers are written out in full.
_LONGEST_PLAIN_INTEGER = 1e21


@dataclass(slots=True)
class Fields:
    """The decoded texts of one submission, in walking order, and where each one stands.

    ``texts``, ``places`` and ``is_key`` run in parallel; a key comes right before its value.
    ``containers[n]`` is the place of container ``n``.
    """

    texts: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    """Indices of the texts that are JSON numbers."""
    containers: list[Place] = field(default_factory=list)
    nodes: int = 0
    """Number of JSON values seen, containers included; keys do not count."""
    depth: int = 0
    """Number of containers round the deepest value: 0 for a bare string, 2 for ``{"a": [1]}``."""
    too_deep: int | None = None
    """The first container beyond the allowed depth; its members were not read."""
    long_key: bool = False
    """There is a key of more than MAX_KEY_CHARACTERS; neither it nor its value was read."""
    long_path: bool = False
    """There is a key that makes more than MAX_PATH_CHARACTERS with those above it; neither it nor
    its value was read."""
    too_many: bool = False
    """There were more values than allowed; the rest was not read."""
    unset: list[Place] = field(default_factory=list)
    """Places of values with no kind: not JSON, only a protobuf client can send them."""
    non_finite: list[int] = field(default_factory=list)
    """Indices of the texts that are NaN or an infinity."""
    inexact: list[int] = field(default_factory=list)
    """Indices of the texts that are integers beyond ±MAX_SAFE_INTEGER."""

    @property
    def unread(self) -> bool:
        """Tell whether there is more than was read."""
        return self.too_many or self.too_deep is not None or self.long_key or self.long_path

    def pointer(self, index: int, renamed: Mapping[Place, str] | None = None) -> str:
        """Return the RFC 6901 pointer of text ``index``, starting ``/data`` (a key: its value).

        ``renamed`` replaces object keys, named by their places, that must not be shown.
        """
        return self.place_pointer(self.places[index], renamed)

    def with_nul(self) -> list[int]:
        """Return the indices of the texts that hold a NUL character."""
        if "\0" not in "".join(self.texts):
            return []
        return [index for index, text in enumerate(self.texts) if "\0" in text]

    def place_pointer(self, place: Place, renamed: Mapping[Place, str] | None = None) -> str:
        """Return the RFC 6901 pointer of a place."""
        steps: list[str] = []
        owner, token = place
        while owner != ROOT:
            step = str(token)
            if renamed and isinstance(token, str):
                step = renamed.get((owner, token), step)
            steps.append(step.replace("~", "~0").replace("/", "~1"))
            owner, token = self.containers[owner]
        return "/".join((DATA_POINTER, *reversed(steps)))


def number_text(number: float) -> str:
    """Write a JSON number as a caller would have: integers without ``.0``."""
    if number.is_integer() and abs(number) < _LONGEST_PLAIN_INTEGER:
        return str(int(number))
    return repr(number)


def may_be_one(parts: Sequence[str], *, numeric: bool) -> bool:
    """Tell whether short texts, some of them ``numeric`` ones, can be one value taken apart.

    Numbers can be that as the groups of digits of a card or social security number, which may have
    lost zeros.
    """
    if not 2 <= len(parts) <= MOST_PARTS:
        return False
    whole = "".join(parts)
    if not SHORTEST <= len(whole) <= MOST_PARTS:
        return False
    if not numeric:
        if whole.isalpha() or not any(map(str.isdigit, whole)):
            return False
    elif len(whole) > 19 or not whole.isdecimal():
        return False
    lengths = [len(part) for part in parts]
    if not min(lengths) or max(lengths) > _LONGEST_PART:
        return False
    if not numeric or max(lengths) == 1 or len(parts) == 8:
        return True
    # The first group of a card has four digits, and so few that make seven have one of three.
    return len(parts) <= 5 and max(lengths) > 2


def walk(data: struct_pb2.Value, max_depth: int, max_nodes: int = NO_LIMIT) -> Fields:
    """Read every value and key of ``data`` once.

    Not read is what lies in containers nested beyond ``max_depth``, what comes after ``max_nodes``
    values, and what stands under a key or a path that is too long. Raises nothing on any content.
    """
    fields = Fields()
    texts, places, is_key = fields.texts, fields.places, fields.is_key
    containers = fields.containers
    kind_of = struct_pb2.Value.WhichOneof
    nodes = deepest = 0

    def read(
        values: Iterable[tuple[Token, struct_pb2.Value]], owner: int, depth: int, length: int
    ) -> None:
        # The kinds are asked for in the order of how often they occur, and leaves are read
        # without a call of their own: this loop is the whole cost of the walk.
        nonlocal nodes, deepest
        if depth > deepest:
            deepest = depth
        for token, value in values:
            nodes += 1
            if nodes > max_nodes:
                fields.too_many = True
                return
            kind = kind_of(value, "kind")
            if kind == "string_value":
                texts.append(value.string_value)
                places.append((owner, token))
                is_key.append(False)
            elif kind == "number_value":
                number = value.number_value
                index = len(texts)
                fields.numbers.add(index)
                # False for NaN and infinities too, so the usual number costs one comparison.
                if not -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER:
                    # Every finite double of this size is an integer.
                    (fields.inexact if isfinite(number) else fields.non_finite).append(index)
                texts.append(number_text(number))
                places.append((owner, token))
                is_key.append(False)
            elif kind == "struct_value" or kind == "list_value":
                own = len(containers)
                containers.append((owner, token))
                above = length + len(token) if isinstance(token, str) else length
                if depth == max_depth:
                    if fields.too_deep is None:
                        fields.too_deep = own
                elif kind == "struct_value":
                    read(members(value.struct_value.fields, own, above), own, depth + 1, above)
                else:
                    items = value.list_value.values[: max_nodes - nodes + 1]
                    read(enumerate(items), own, depth + 1, above)
            elif kind is None:
                fields.unset.append((owner, token))

    def members(
        struct: Mapping[str, struct_pb2.Value], own: int, above: int
    ) -> Iterator[tuple[str, struct_pb2.Value]]:
        # Asking by key is faster than items(), which protobuf has written in Python.
        for key in struct:
            # Most keys cost one comparison: no limit is below it.
            if above + len(key) > MAX_KEY_CHARACTERS:
                if len(key) > MAX_KEY_CHARACTERS:
                    fields.long_key = True
                    continue
                if above + len(key) > MAX_PATH_CHARACTERS:
                    fields.long_path = True
                    continue
            texts.append(key)
            places.append((own, key))
            is_key.append(True)
            yield key, struct[key]

    read([("", data)], ROOT, 0, 0)
    fields.nodes = nodes
    fields.depth = deepest
    return fields
