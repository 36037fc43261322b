"""The question of a DNS message (RFC 1035), as a censor reads it.

A parser limit is part of the measured behaviour: the Turkmen censor ignores a query with a section count above 25
(facts §1, Nourin et al. 2023), so the limit is an argument, not a constant.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("!HHHHHH")
_MOST_LABELS = 128
OPT = 41


@dataclass(slots=True)
class Query:
    """The first question. `qname` in lower case without the last dot; `question_end` is the offset behind it."""

    id: int
    flags: int
    counts: tuple[int, int, int, int]
    qname: str
    qtype: int
    qclass: int
    question_end: int

    @property
    def is_response(self) -> bool:
        """Say whether the message is an answer."""
        return bool(self.flags & 0x8000)


def parse_query(data: memoryview | bytes, max_count: int = 65535) -> Query:
    """Read a message's first question; `ValueError` if there is none, or a section count exceeds `max_count`."""
    data = memoryview(data)
    if len(data) < 17:
        raise ValueError("a DNS message cut short")
    ident, flags, *counts = _HEADER.unpack_from(data)
    if counts[0] == 0:
        raise ValueError("a DNS message without a question")
    if max(counts) > max_count:
        raise ValueError(f"a DNS section count above {max_count}")
    name, offset = read_name(data, 12)
    if offset + 4 > len(data):
        raise ValueError("a DNS question cut short")
    qtype, qclass = struct.unpack_from("!HH", data, offset)
    return Query(ident, flags, (counts[0], counts[1], counts[2], counts[3]), name, qtype, qclass, offset + 4)


def read_name(data: memoryview, offset: int) -> tuple[str, int]:
    """Read a name, following compression pointers backwards only; return it and the offset behind it."""
    labels: list[str] = []
    after: int | None = None
    limit = offset
    for _ in range(_MOST_LABELS):
        if offset >= len(data):
            raise ValueError("a DNS name cut short")
        length = data[offset]
        if length == 0:
            return ".".join(labels).lower(), (offset + 1 if after is None else after)
        if length >= 0xC0:
            if offset + 2 > len(data):
                raise ValueError("a DNS pointer cut short")
            after = offset + 2 if after is None else after
            offset = (length & 0x3F) << 8 | data[offset + 1]
            if offset >= limit:
                raise ValueError("a DNS pointer that does not point back")
            limit = offset
        elif length > 63:
            raise ValueError("a DNS label of an unknown type")
        else:
            labels.append(bytes(data[offset + 1 : offset + 1 + length]).decode("latin-1"))
            offset += 1 + length
    raise ValueError("a DNS name of too many labels")
